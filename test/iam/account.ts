// An account whose every caller is one of the synthesised roles: a door in front of moto that records each call and
// answers 403 to what the role's own policy does not allow.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import type { LambdaVerb } from "../../lib/cloud/lambda-bundle.ts";
import { Gate, type Seen, type Verdict } from "../aws/gate.ts";
import { type Moto, motoEnvironment, startMoto } from "../aws/moto.ts";
import { bundleFor, Sandbox } from "../aws/sandbox.ts";
import { makeAccount, type TriggerAccount } from "../aws/trigger-account.ts";
import { callsOf, signerOf } from "./calls.ts";
import { type Call, isAllowed } from "./evaluate.ts";
import { type Role, rolesOf } from "./roles.ts";

const checkout = path.resolve(import.meta.dirname, "../..");
export const python = path.join(checkout, ".venv", "bin", "python");

/** What moto has no part of, answered as AWS would, by "service Action". */
export type Answers = Record<string, object | ((body: Record<string, never>) => object)>;

export class RoleAccount {
  readonly roles: Map<string, Role>;
  readonly account: TriggerAccount;
  /** Of each role, in order and without repetition. */
  readonly calls = new Map<string, Map<string, Call>>();
  readonly denied: string[] = [];
  answers: Answers = {};
  private readonly moto: Moto;
  private readonly folder: string;
  private readonly gate: Gate;
  private readonly sandboxes: Sandbox[] = [];
  private url = "";

  private constructor(moto: Moto, account: TriggerAccount, folder: string) {
    this.moto = moto;
    this.account = account;
    this.folder = folder;
    this.roles = rolesOf({
      StorageData: "data",
      StorageArtefacts: "artefacts",
      StorageQuarantine: "quarantine",
      LedgerTable: "ledger",
      TriggerDeliveries: "deliveries",
      Notifications: account.topicArn,
      StoragePseudonymKey: account.environment.VOXELBURST_PSEUDONYM_KEY_ARN!,
      WorkflowStateMachine: account.stateMachineArn,
      JobLogs: "jobs",
    });
    this.gate = new Gate(
      moto.url,
      (seen) => this.judge(seen),
      (seen, status) => this.note(seen, status),
    );
  }

  static async open(folder: string): Promise<RoleAccount> {
    const moto = await startMoto();
    const opened = new RoleAccount(moto, await makeAccount(moto.url, { runUsd: 10_000, monthUsd: 100_000 }), folder);
    opened.url = await opened.gate.start();
    return opened;
  }

  close(): void {
    for (const sandbox of this.sandboxes) sandbox.stop();
    this.gate.stop();
    this.moto.stop();
  }

  role(start: string): Role {
    const found = [...this.roles.values()].filter(({ name }) => name.startsWith(start));
    if (found.length !== 1) throw new Error(`${found.length} roles begin with ${start}`);
    return found[0]!;
  }

  callsBy(start: string): Call[] {
    return [...(this.calls.get(this.role(start).name)?.values() ?? [])];
  }

  /** The function as it is deployed, with the role's name as its access key. */
  async function(verb: LambdaVerb, role: string, environment: Record<string, string> = {}): Promise<Sandbox> {
    const options = {
      verb,
      folder: this.folder,
      remainingMs: 60_000,
      environment: { ...this.account.environment, ...this.environmentOf(role), ...environment },
    };
    const sandbox = new Sandbox(options, await bundleFor(options));
    this.sandboxes.push(sandbox);
    return sandbox;
  }

  /** A container's process. @throws Error with what it wrote when it fails */
  async stage(role: string, args: readonly string[], environment: Record<string, string> = {}): Promise<void> {
    // A host of its own: what another role's container fetched is not there.
    const cwd = path.join(this.folder, "work", role);
    mkdirSync(cwd, { recursive: true });
    const child = spawn(python, ["-m", "voxelburst", ...args], {
      cwd,
      env: {
        PATH: process.env.PATH,
        HOME: cwd,
        TMPDIR: cwd,
        PYTHONPATH: path.join(checkout, "containers", "src"),
        OMP_NUM_THREADS: "1",
        CUDA_VISIBLE_DEVICES: "",
        VOXELBURST_PSEUDONYM_KEY: "key",
        ...this.environmentOf(role),
        AWS_DEFAULT_REGION: "us-east-1",
        ...environment,
      },
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (part: string) => {
        text = `${text}${part}`.slice(-4_000);
      });
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0)
      throw new Error(`${role}: ${args.join(" ")} ended with ${code}; denied: ${this.denied.join()}\n${text}`);
  }

  /** A call that a service makes with a role, as its documentation says. */
  record(role: string, ...calls: Call[]): void {
    for (const call of calls) this.add(this.role(role).name, call);
  }

  private environmentOf(role: string): Record<string, string> {
    return { ...motoEnvironment(this.url), AWS_ACCESS_KEY_ID: this.role(role).name };
  }

  private judge(seen: Seen): Verdict {
    const { who, service } = signerOf(seen);
    const role = this.roles.get(who);
    if (!role) return { status: 403, body: `nobody is called ${who}` };
    for (const call of callsOf(seen)) {
      this.add(who, call);
      if (isAllowed(role.statements, call)) continue;
      this.denied.push(`${who}: ${call.action} on ${call.resource}`);
      return service === "s3"
        ? { status: 403, body: "<Error><Code>AccessDenied</Code><Message>denied</Message></Error>" }
        : { status: 400, body: JSON.stringify({ __type: "AccessDeniedException", message: "denied" }) };
    }
    const [{ action }] = callsOf(seen) as [Call];
    const answer = this.answers[action];
    if (answer === undefined) return "forward";
    const body = typeof answer === "function" ? answer(JSON.parse(seen.body.toString() || "{}")) : answer;
    return { status: 200, headers: { "Content-Type": "application/x-amz-json-1.1" }, body: JSON.stringify(body) };
  }

  /** What an answer shows that was needed too: a 404 of S3 is a 403 to those who may not list. */
  private note(seen: Seen, status: number): void {
    const { who } = signerOf(seen);
    for (const call of callsOf(seen, status)) {
      this.add(who, call);
      if (!isAllowed(this.roles.get(who)!.statements, call))
        this.denied.push(`${who}: ${call.action} on ${call.resource}`);
    }
  }

  private add(who: string, call: Call): void {
    const known = this.calls.get(who) ?? new Map<string, Call>();
    this.calls.set(who, known.set(`${call.action} ${call.resource}`, call));
  }
}
