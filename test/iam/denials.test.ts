// What every role is denied: other prefixes, other buckets, other teams' jobs.
import { describe, expect, it } from "vitest";
import { rolesWithStatements } from "./checks.ts";
import { type Call, isAllowed } from "./evaluate.ts";
import { arnOf } from "./roles.ts";

/** What is somebody else's: another prefix, another bucket, another team's job, another function's table. */
const object = (action: string, key: string): Call => ({ action: `s3:${action}`, resource: `arn:aws:s3:::${key}` });
const job = (action: string, resource: string): Call => ({ action, resource });
const STRANGE: readonly Call[] = [
  object("DeleteObject", "artefacts/train/hash/weights.pt"),
  object("DeleteObject", "data/datasets/phantoms/dataset.json"),
  object("PutObject", "data/datasets/phantoms/dataset.json"),
  object("GetObject", "access-logs/x"),
  object("GetObject", "somebody-elses/x"),
  job("sagemaker:StopTrainingJob", arnOf("sagemaker", "training-job/somebody-elses")),
  job("sagemaker:StopTransformJob", arnOf("sagemaker", "transform-job/somebody-elses")),
  job("batch:TerminateJob", "arn:aws:batch:us-east-1:999999999999:job/x"),
  job("batch:CancelJob", arnOf("batch", "job/x")),
  job("batch:SubmitJob", arnOf("batch", "job-queue/somebody-elses")),
  job("dynamodb:PutItem", arnOf("dynamodb", "table/somebody-elses")),
  job("iam:PassRole", "arn:aws:iam::123456789012:role/Admin"),
  job("kms:Decrypt", arnOf("kms", "key/somebody-elses")),
];
const queryLedger = (leading: string): Call => ({
  action: "dynamodb:Query",
  resource: arnOf("dynamodb", "table/ledger"),
  context: { "dynamodb:LeadingKeys": leading },
});
const write = (key: string) => object("PutObject", `artefacts/${key}`);
const read = (key: string) => object("GetObject", `artefacts/${key}`);
const stopTraining = job("sagemaker:StopTrainingJob", arnOf("sagemaker", "training-job/train-of-another-run"));
const stopJob = job("batch:TerminateJob", arnOf("batch", "job/of-another-run"));
/** Beside what is strange to all: other stages' prefixes, and jobs, which no container has anything to do with. */
const OTHERS: Record<string, readonly Call[]> = {
  IngestJobRole: [
    write("train/h/x"),
    write("runs/r/plan.json"),
    write("runs/r/tasks/x.json"),
    read("runs/r/report/report.json"),
    stopJob,
  ],
  PreprocessJobRole: [
    write("ingest/h/x"),
    write("train/h/x"),
    read("train/h/x"),
    object("GetObject", "data/datasets/d/x"),
    stopJob,
  ],
  TrainRole: [write("preprocess/h/x"), write("compile/h/x"), object("GetObject", "data/datasets/d/x"), stopTraining],
  TrainClusterRole: [
    write("preprocess/h/x"),
    write("runs/r/sagemaker/model.tar.gz"),
    object("GetObject", "data/datasets/d/x"),
    stopJob,
  ],
  CompileJobRole: [write("train/h/x"), write("infer/h/x"), object("GetObject", "quarantine/r/x.json"), stopJob],
  InferTransformRole: [write("compile/h/x"), write("runs/r/plan.json"), read("train/h/x"), stopTraining],
  InferJobRole: [write("compile/h/x"), write("runs/r/plan.json"), read("train/h/x"), stopJob],
  PlanFunctionRole: [write("train/h/x"), object("GetObject", "data/datasets/d/x"), stopJob],
  ReportFunctionRole: [
    write("runs/r/plan.json"),
    write("train/h/x"),
    stopJob,
    queryLedger("account"),
    job("dynamodb:PutItem", arnOf("dynamodb", "table/ledger")),
    job("dynamodb:DeleteItem", arnOf("dynamodb", "table/ledger")),
  ],
  TriggerFunctionRole: [
    write("train/h/x"),
    read("train/h/x"),
    stopJob,
    stopTraining,
    job("dynamodb:DeleteItem", arnOf("dynamodb", "table/ledger")),
  ],
  LedgerReserveRole: [read("runs/r/plan.json"), write("runs/r/recipe.json")],
  LedgerSettleRole: [read("runs/r/recipe.json"), write("runs/r/recipe.json")],
  GuardFunctionRole: [
    read("runs/r/recipe.json"),
    job("states:StartExecution", arnOf("states", "stateMachine:Voxelburst")),
  ],
};

describe.each(Object.entries(OTHERS))("%s is denied", (start, others) => {
  const role = rolesWithStatements.find(({ name }) => name.startsWith(start))!;
  it.each([...STRANGE, ...others].map((call) => [call.action, call.resource, call] as const))(
    "%s on %s",
    (_a, _r, call) => {
      expect(isAllowed(role.statements, call)).toBe(false);
    },
  );
});
