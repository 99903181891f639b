// Every role is enough for what its code does and has nothing more: a run in which each function's bundle and each
// stage's process works for real against moto, behind a door that knows its synthesised policy alone.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RoleAccount } from "./account.ts";
import { applies, type Call, isAllowed, listOf, type Statement } from "./evaluate.ts";
import { arnOf, rolesOf } from "./roles.ts";
import { Scenario } from "./scenario.ts";
import { SERVICE_ROWS } from "./service-roles.ts";

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-iam-"));
/** Names do not matter for the list of what there is to test. */
const roles = [
  ...rolesOf({ JobLogs: "jobs", Notifications: arnOf("sns", "notifications"), StorageArtefacts: "artefacts" }).values(),
];
/** Roles of CDK's own, and of EC2's instances, which have AWS's managed policies alone. */
const withStatements = roles.filter(({ statements }) => statements.length > 0);

let at: RoleAccount;
beforeAll(async () => {
  at = await RoleAccount.open(folder);
  const scenario = new Scenario(at, folder);
  await scenario.startRun();
  await scenario.ingestAndPlan();
  await scenario.preprocess();
  await scenario.train("TrainRole");
  await scenario.compileAndInfer();
  await scenario.report();
  await scenario.ledger();
}, 1_500_000);
afterAll(() => {
  at?.close();
  rmSync(folder, { recursive: true, force: true });
});

const rowsOf = (role: string) => SERVICE_ROWS.filter((row) => row.role.test(role));

/** Rows of the services' pages that no statement grants. */
const missingRows = (role: string, statements: readonly Statement[]) =>
  rowsOf(role)
    .filter(
      (row) =>
        !statements.some(
          ({ Action, Resource }) =>
            listOf(Action).some((action) => action.toLowerCase() === row.action.toLowerCase()) &&
            listOf(Resource).some((resource) => row.resource.test(resource)),
        ),
    )
    .map(({ action, resource, page }) => `${action} on ${resource} (${page})`);

const deniedCalls = (role: string, statements: readonly Statement[]) =>
  at
    .callsBy(role)
    .filter((call) => !isAllowed(statements, call))
    .map(({ action, resource }) => `${action} on ${resource}`);

it("lets every role do all that its code and AWS's services do with it", () => {
  expect(at.denied).toEqual([]);
  for (const { name } of withStatements) {
    const { statements } = at.role(name);
    expect(deniedCalls(name, statements), name).toEqual([]);
  }
});

describe.each(
  withStatements.map(({ name, statements }) => [name.replace(/[0-9A-F]{8}$/, ""), name, statements.length] as const),
)("%s", (_title, name, length) => {
  it.each(
    Array.from(
      { length },
      (_, index) =>
        [
          index,
          listOf(withStatements.find((each) => each.name === name)!.statements[index]!.Action).join(", "),
        ] as const,
    ),
  )("cannot do without statement %i: %s", (index) => {
    const { statements } = at.role(name);
    const rest = statements.filter((_, position) => position !== index);
    const before = missingRows(name, statements);
    const lost = missingRows(name, rest).filter((row) => !before.includes(row));
    expect([...deniedCalls(name, rest), ...lost]).not.toEqual([]);
  });

  it("has no action on no resource that neither its code nor a service uses", () => {
    const { statements } = at.role(name);
    const calls = at.callsBy(name);
    const idle = statements.flatMap((statement) =>
      listOf(statement.Action).flatMap((Action) =>
        listOf(statement.Resource).flatMap((Resource) => {
          const one = { ...statement, Action, Resource };
          const isUsed =
            calls.some((call) => applies(one, call)) ||
            rowsOf(name).some(
              (row) => row.action.toLowerCase() === Action.toLowerCase() && row.resource.test(Resource),
            );
          return isUsed ? [] : [`${Action} on ${Resource}`];
        }),
      ),
    );
    expect(idle).toEqual([]);
  });
});

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
  CompileJobRole: [write("train/h/x"), write("infer/h/x"), object("GetObject", "quarantine/r/x.json"), stopJob],
  InferJobRole: [write("compile/h/x"), write("runs/r/plan.json"), read("train/h/x"), stopJob],
  PlanFunctionRole: [write("train/h/x"), object("GetObject", "data/datasets/d/x"), stopJob],
  ReportFunctionRole: [write("runs/r/plan.json"), write("train/h/x"), stopJob],
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
  it.each([...STRANGE, ...others].map((call) => [call.action, call.resource, call] as const))(
    "%s on %s",
    (_a, _r, call) => {
      expect(isAllowed(at.role(start).statements, call)).toBe(false);
    },
  );
});
