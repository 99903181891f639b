// How a handler becomes one file: the same for what is deployed, for what is measured and for what tests run.
import { build } from "esbuild";

/** The folders below lambdas/ that have a handler. */
export const LAMBDAS = ["start-run", "plan", "reserve", "settle", "guard", "report"] as const;
export type LambdaVerb = (typeof LAMBDAS)[number];

export const lambdaEntry = (verb: LambdaVerb): string => `${BUNDLE.root}lambdas/${verb}/handler.ts`;

export const BUNDLE = {
  root: new URL("../../", import.meta.url).pathname,
  target: "node24",
  // ES modules first: of CommonJS nothing can be shaken off.
  mainFields: ["module", "main"],
  // Some dependencies are CommonJS inside and ask for node's modules by require.
  banner: "import { createRequire } from 'module';const require = createRequire(import.meta.url);",
};

/** Bundles as BundledFunction has CDK do it: the AWS SDK of package-lock.json inside, not the one that the runtime has. */
export async function bundleLambda(verb: LambdaVerb, outfile: string): Promise<void> {
  await build({
    entryPoints: [lambdaEntry(verb)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: BUNDLE.target,
    minify: true,
    sourcemap: true,
    sourcesContent: false,
    mainFields: BUNDLE.mainFields,
    banner: { js: BUNDLE.banner },
    logLevel: "error",
  });
}
