import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    // Two cores are what a small machine has; more workers only thrash it.
    maxWorkers: 2,
  },
});
