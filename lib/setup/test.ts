// Runs every suite and sums them: `npm test [-- --only lint|node|python]`. The last line is `N passed, N failed`.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "../..");
const scratch = mkdtempSync(path.join(tmpdir(), "voxelburst-test-"));
const python = (name: string) => path.join(root, ".venv", "bin", name);
const node = (name: string) => path.join(root, "node_modules", ".bin", name);

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface Suite {
  name: string;
  group: "lint" | "node" | "python";
  command: string;
  args: string[];
  cwd: string;
  /** Reads the counts from the suite's own machine-readable report; without one the exit code is one check. */
  counts?: () => Counts;
}

const vitestJson = path.join(scratch, "vitest.json");
const junitXml = path.join(scratch, "pytest.xml");

function vitestCounts(): Counts {
  const report = JSON.parse(readFileSync(vitestJson, "utf8"));
  return { passed: report.numPassedTests, failed: report.numFailedTests, skipped: report.numPendingTests };
}

function pytestCounts(): Counts {
  const suite = /<testsuite [^>]*>/.exec(readFileSync(junitXml, "utf8"))?.[0] ?? "";
  const of = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = of("failures") + of("errors");
  return { passed: of("tests") - failed - of("skipped"), failed, skipped: of("skipped") };
}

const containers = path.join(root, "containers");
const suites: Suite[] = [
  {
    name: "format, lint and import fences",
    group: "lint",
    command: node("biome"),
    args: ["check", "--error-on-warnings", "."],
    cwd: root,
  },
  { name: "types of the TypeScript", group: "lint", command: node("tsc"), args: ["--noEmit"], cwd: root },
  {
    name: "format of the Python",
    group: "lint",
    command: python("ruff"),
    args: ["format", "--check", "."],
    cwd: containers,
  },
  { name: "lint of the Python", group: "lint", command: python("ruff"), args: ["check", "."], cwd: containers },
  { name: "types of the Python", group: "lint", command: python("mypy"), args: [], cwd: containers },
  {
    name: "TypeScript tests",
    group: "node",
    command: node("vitest"),
    args: ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${vitestJson}`],
    cwd: root,
    counts: vitestCounts,
  },
  {
    name: "Python tests",
    group: "python",
    command: python("pytest"),
    args: ["-n", "2", "--dist", "worksteal", `--junitxml=${junitXml}`],
    cwd: containers,
    counts: pytestCounts,
  },
];

/** Runs a suite to its end; a suite that ends non-zero without a failed test of its own counts as one failure. */
async function run(suite: Suite): Promise<Counts> {
  const began = performance.now();
  console.log(`\n== ${suite.name}`);
  const code = await new Promise<number>((resolve) => {
    const child = spawn(suite.command, suite.args, { cwd: suite.cwd, stdio: ["ignore", "inherit", "inherit"] });
    child.on("error", () => resolve(127));
    child.on("exit", (status) => resolve(status ?? 1));
  });
  let counts: Counts = code === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
  if (suite.counts) {
    try {
      counts = suite.counts();
    } catch {
      counts = { passed: 0, failed: 1, skipped: 0 };
    }
    if (code !== 0 && counts.failed === 0) counts = { ...counts, failed: 1 };
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(
    `== ${suite.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds} s`,
  );
  return counts;
}

const { values } = parseArgs({ options: { only: { type: "string" } } });
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
try {
  for (const suite of suites) {
    if (values.only && suite.group !== values.only) continue;
    const counts = await run(suite);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
