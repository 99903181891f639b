// sagemaker:createModel, deleteModel and createTransformJob.sync on one machine: a record, and the image's own server
// driven by the transform contract; results in DescribeTransformJob's shape.
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import * as z from "zod";
import { ERROR, StatesError } from "./asl/errors.ts";
import type { TaskRequest } from "./asl/ports.ts";
import { type ChildEnd, runChild } from "./child.ts";
import { keysBelow, pathOf } from "./folder-store.ts";
import { argumentsOf, type JobHost, type JsonRecord, jobSignal, sdkMetadata } from "./job-host.ts";
import { sageMakerError } from "./training-job.ts";

const name = z.string().regex(/^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$/);
const environment = z.record(z.string(), z.string()).default({});
const modelOf = z.looseObject({
  ModelName: name,
  ExecutionRoleArn: z.string(),
  PrimaryContainer: z.looseObject({ Image: z.string(), Environment: environment }),
});
const transformOf = z
  .looseObject({
    TransformJobName: name,
    ModelName: name,
    MaxConcurrentTransforms: z.int().min(1).default(1),
    MaxPayloadInMB: z.int().min(1).max(100).default(6),
    BatchStrategy: z.literal("SingleRecord"),
    ModelClientConfig: z
      .looseObject({
        InvocationsTimeoutInSeconds: z.int().min(1).max(3_600).default(600),
        InvocationsMaxRetries: z.int().min(0).max(3).default(3),
      })
      .prefault({}),
    Environment: environment,
    TransformInput: z.looseObject({
      ContentType: z.string().optional(),
      SplitType: z.literal("Line"),
      DataSource: z.looseObject({
        S3DataSource: z.looseObject({ S3DataType: z.literal("S3Prefix"), S3Uri: z.string() }),
      }),
    }),
    TransformOutput: z.looseObject({ S3OutputPath: z.string(), AssembleWith: z.literal("Line") }),
    TransformResources: z.looseObject({
      // Batch transform accepts no p4, p5 or p6.
      InstanceType: z.string().regex(/^ml\.(p[23]|g4dn|g5|g6|g6e)\./),
      InstanceCount: z.int().min(1),
    }),
  })
  .refine(({ MaxConcurrentTransforms, MaxPayloadInMB }) => MaxConcurrentTransforms * MaxPayloadInMB <= 100, {
    path: ["MaxPayloadInMB"],
    message: "MaxConcurrentTransforms x MaxPayloadInMB may be 100 at most",
  });
type Transform = z.infer<typeof transformOf>;

/** SageMaker asks every few seconds, and gives a container so long to answer with 200. */
const READY_SECONDS = 600;
const PING_MS = 100;

const recordOf = (model: string) => `model.${model}`;

function parsed<T extends z.ZodType>(schema: T, request: TaskRequest): z.infer<T> {
  const result = schema.safeParse(argumentsOf(request));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw sageMakerError("ValidationException", `${issue?.path.join(".")}: ${issue?.message}`);
}

/** @throws StatesError SageMaker.AmazonSageMakerException for a bad request or a name that was used before */
export async function createModel(request: TaskRequest, host: JobHost): Promise<JsonRecord> {
  const model = parsed(modelOf, request);
  const ModelArn = `arn:aws:sagemaker:local:000000000000:model/${model.ModelName}`;
  if (!host.run.claimJob(recordOf(model.ModelName), { ...model, ModelArn }))
    throw sageMakerError("ValidationException", `Cannot create already existing model "${ModelArn}"`);
  return { ModelArn, ...sdkMetadata };
}

/** @throws StatesError SageMaker.SageMakerException, as SDK integrations name it, for a model that is not there */
export async function deleteModel(request: TaskRequest, host: JobHost): Promise<JsonRecord> {
  const { ModelName } = parsed(z.looseObject({ ModelName: name }), request);
  if (!host.run.dropJob(recordOf(ModelName)))
    throw new StatesError("SageMaker.SageMakerException", `Could not find model "${ModelName}". (Service: SageMaker)`);
  return {};
}

/**
 * @returns the job as DescribeTransformJob gives it
 * @throws StatesError States.TaskFailed with that as Cause when the job failed or was stopped;
 *   SageMaker.AmazonSageMakerException for a bad request or a name that was used before
 */
export async function createTransformJob(request: TaskRequest, host: JobHost): Promise<JsonRecord> {
  const job = parsed(transformOf, request);
  const model = modelOf.safeParse(host.run.job(recordOf(job.ModelName)));
  if (!model.success) throw sageMakerError("ValidationException", `Could not find model "${job.ModelName}"`);
  const TransformJobArn = `arn:aws:sagemaker:local:000000000000:transform-job/${job.TransformJobName}`;
  const about = { ...job, TransformJobArn, CreationTime: Date.now() };
  if (!host.run.claimJob(job.TransformJobName, { ...about, TransformJobStatus: "InProgress" }))
    throw sageMakerError(
      "ResourceInUse",
      `Job name must be unique within an AWS account and region, and a job with this name already exists (${TransformJobArn})`,
    );
  await request.submitted({ TransformJobArn, ...sdkMetadata });
  const variables = { ...model.data.PrimaryContainer.Environment, ...job.Environment };
  const TransformStartTime = Date.now();
  const outcome = await transform(job, variables, request, host);
  const detail = { ...about, ...outcome, TransformStartTime, TransformEndTime: Date.now() };
  host.run.recordJob(job.TransformJobName, detail);
  if (detail.TransformJobStatus !== "Completed") throw new StatesError(ERROR.taskFailed, JSON.stringify(detail));
  return detail;
}

interface Outcome {
  TransformJobStatus: "Completed" | "Failed" | "Stopped";
  FailureReason?: string;
}

const failed = (FailureReason: string): Outcome => ({ TransformJobStatus: "Failed", FailureReason });

async function transform(
  job: Transform,
  variables: Record<string, string>,
  request: TaskRequest,
  host: JobHost,
): Promise<Outcome> {
  using stop = jobSignal(job.TransformJobName, request.signal, host);
  if (host.faults.take("infer") === "no-capacity")
    return failed("CapacityError: Unable to provision requested ML compute capacity (injected). Please retry.");
  const base = host.run.mlFolder(job.TransformJobName);
  mkdirSync(path.join(base, "model"), { recursive: true });
  const { cpus, gpuIds } = host.slots.capacity;
  const served = new AbortController();
  try {
    const memoryMiB = await host.memoryMiBOf("infer");
    using lease = await host.slots.acquire({ cpus, gpus: Math.min(1, gpuIds.length), memoryMiB }, stop.signal);
    const port = await freePort();
    const server = runChild({
      python: host.python,
      args: [...host.entry, "serve"],
      cwd: base,
      env: host.environment(cpus, lease.gpuIds, {
        ...variables,
        SAGEMAKER_BASE_DIR: base,
        SAGEMAKER_BIND_TO_PORT: String(port),
        SAGEMAKER_BATCH: "true",
      }),
      logFile: host.run.logFile(job.TransformJobName),
      signal: AbortSignal.any([stop.signal, served.signal]),
      onProgress: host.onProgress,
    });
    try {
      return await sendAll(job, `http://127.0.0.1:${port}`, server, stop.signal);
    } finally {
      served.abort(new Error("Every record has its answer."));
      const end = await server;
      if (end.error) host.onError(end.error);
    }
  } catch (error) {
    if (stop.signal.aborted) return { TransformJobStatus: "Stopped" };
    throw error;
  }
}

/** Each line of each object to the server; answers of an object go to <key>.out, a line each. */
async function sendAll(job: Transform, url: string, server: Promise<ChildEnd>, signal: AbortSignal): Promise<Outcome> {
  const gone = server.then((end): Outcome => failed(`ClientError: the container ended with exit code ${end.exitCode}`));
  const ready = await Promise.race([becomesReady(url, signal), gone]);
  if (ready !== "ready") return ready;
  const { S3Uri } = job.TransformInput.DataSource.S3DataSource;
  const objects = await keysBelow(S3Uri);
  if (objects.length === 0) return failed(`ClientError: No S3 objects found under the S3 prefix ${S3Uri}`);
  const output = pathOf(job.TransformOutput.S3OutputPath);
  mkdirSync(output, { recursive: true });
  for (const object of objects) {
    const answers: string[] = [];
    const text = readFileSync(path.join(pathOf(S3Uri), object), "utf8");
    for (const line of text.split("\n").filter((each) => each !== "")) {
      const answer = await Promise.race([invoke(job, url, line, signal), gone]);
      if (typeof answer !== "string") return answer;
      answers.push(answer.trimEnd());
    }
    const file = path.join(output, `${object}.out`);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, answers.map((answer) => `${answer}\n`).join(""));
  }
  return { TransformJobStatus: "Completed" };
}

async function becomesReady(url: string, signal: AbortSignal): Promise<"ready" | Outcome> {
  for (const until = Date.now() + READY_SECONDS * 1000; Date.now() < until; await wait(PING_MS)) {
    if (signal.aborted) throw signal.reason;
    // Not there yet, or there with 503: it still loads.
    const answer = await fetch(`${url}/ping`, { signal }).catch(() => undefined);
    if (answer?.ok) return "ready";
  }
  return failed(`ClientError: the container did not answer /ping within ${READY_SECONDS} seconds`);
}

/** @returns the answer's text, or how the job fails when the server has not given one as often as it was asked */
async function invoke(job: Transform, url: string, line: string, signal: AbortSignal): Promise<string | Outcome> {
  const { InvocationsTimeoutInSeconds, InvocationsMaxRetries } = job.ModelClientConfig;
  let why = "";
  for (let attempt = 0; attempt <= InvocationsMaxRetries; attempt++) {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(InvocationsTimeoutInSeconds * 1000)]);
    try {
      const answer = await fetch(`${url}/invocations`, {
        method: "POST",
        body: `${line}\n`,
        headers: { "Content-Type": job.TransformInput.ContentType ?? "application/octet-stream" },
        signal: limit,
      });
      const text = await answer.text();
      if (answer.ok) return text;
      why = `the container answered ${answer.status}`;
    } catch (error) {
      if (signal.aborted) throw error;
      why = "the container did not answer";
    }
  }
  return failed(`ClientError: See job logs for more information (${why} to request ${randomUUID()})`);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("The system gave no port.");
  return address.port;
}
