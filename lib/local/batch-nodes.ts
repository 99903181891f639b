// The nodes of a multi-node parallel job on one machine: a process each, told of the others as Batch tells its nodes.
import { type ChildEnd, type ChildSpec, runChild } from "./child.ts";

interface Share {
  nodes: number;
  cpus: number;
  gpuIds: readonly string[];
}

/** The main node's: the first. */
const MAIN = 0;

/**
 * Runs all nodes until the main one ends, which decides how the job ended; the others are then stopped, as by Batch.
 *
 * @param environment - of one node, with its share of the cores and GPUs and the variables of its place
 * @returns the main node's end
 */
export async function runNodes(
  spec: Omit<ChildSpec, "env">,
  { nodes, cpus, gpuIds }: Share,
  environment: (cpus: number, gpuIds: readonly string[], variables: Record<string, string>) => NodeJS.ProcessEnv,
): Promise<ChildEnd> {
  const rest = new AbortController();
  const cpusEach = Math.max(1, Math.floor(cpus / nodes));
  const start = (node: number) =>
    runChild({
      ...spec,
      // Each its own log stream, like child jobs of the names <job>#<node>.
      logFile: node === MAIN ? spec.logFile : spec.logFile.replace(/\.log$/, `.${node}.log`),
      signal: node === MAIN ? spec.signal : AbortSignal.any([spec.signal, rest.signal]),
      isReclaimed: node === MAIN && spec.isReclaimed,
      env: environment(cpusEach, shareOf(gpuIds, node, nodes), {
        AWS_BATCH_JOB_NUM_NODES: String(nodes),
        AWS_BATCH_JOB_NODE_INDEX: String(node),
        AWS_BATCH_JOB_MAIN_NODE_INDEX: String(MAIN),
        // The main node has none of this: it uses its own address, which on one machine is everybody's.
        ...(node === MAIN ? {} : { AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS: "127.0.0.1" }),
      }),
    });
  const ends = Array.from({ length: nodes }, (_, node) => start(node));
  try {
    return await ends[MAIN]!;
  } finally {
    rest.abort(new Error("The main node has ended."));
    await Promise.allSettled(ends);
  }
}

/** GPUs dealt out in blocks, as they are on separate instances. */
function shareOf(gpuIds: readonly string[], node: number, nodes: number): string[] {
  const each = Math.ceil(gpuIds.length / nodes);
  return gpuIds.slice(node * each, (node + 1) * each);
}
