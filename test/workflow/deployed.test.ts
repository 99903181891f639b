// `cdk deploy` of the shipped storage and workflow against moto on loopback: the definition that a service gives back is
// the one that one machine executes.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  CloudFormationClient,
  CreateStackCommand,
  DescribeStacksCommand,
  waitUntilStackCreateComplete,
} from "@aws-sdk/client-cloudformation";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { DescribeStateMachineCommand, SFNClient } from "@aws-sdk/client-sfn";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { S3ObjectStore } from "../../lambdas/clients/s3-object-store.ts";
import { keys, under } from "../../lib/contracts/index.ts";
import { type Moto, motoEnvironment, startMoto } from "../aws/moto.ts";
import { STACKS, synthesise, withNames } from "./deployable.ts";
import { run } from "./run.ts";

/** As `cdk bootstrap` leaves it for stacks without a bootstrap version: a bucket for templates above 50 KiB. */
const TOOLKIT = {
  Resources: { Bucket: { Type: "AWS::S3::Bucket", Properties: { BucketName: "cdk-toolkit" } } },
  Outputs: {
    BucketName: { Value: { Ref: "Bucket" } },
    BucketDomainName: { Value: { "Fn::GetAtt": ["Bucket", "RegionalDomainName"] } },
  },
};

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-deploy-"));
let moto: Moto;
let client: { endpoint: string; region: string; credentials: { accessKeyId: string; secretAccessKey: string } };

function cdkDeploy(...stacks: string[]): Promise<string> {
  const cdk = path.resolve(import.meta.dirname, "../../node_modules/aws-cdk/bin/cdk");
  const args = ["deploy", ...stacks, "--app", path.join(folder, "cdk.out"), "--method=direct"];
  const child = spawn(process.execPath, [cdk, ...args, "--require-approval=never", "--ci", "--exclusively"], {
    cwd: folder,
    env: { ...process.env, ...motoEnvironment(moto.url), CI: "true", CDK_DISABLE_CLI_TELEMETRY: "true", HOME: folder },
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  return new Promise((resolve, reject) =>
    child.once("close", (code) => (code === 0 ? resolve(said) : reject(new Error(`cdk ended with ${code}: ${said}`)))),
  );
}

async function outputsOf(StackName: string): Promise<Record<string, string>> {
  const { Stacks } = await new CloudFormationClient(client).send(new DescribeStacksCommand({ StackName }));
  return Object.fromEntries((Stacks?.[0]?.Outputs ?? []).map((one) => [one.OutputKey!, one.OutputValue!]));
}

beforeAll(async () => {
  synthesise(folder);
  moto = await startMoto();
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION } = motoEnvironment(moto.url);
  client = {
    endpoint: moto.url,
    region: AWS_REGION!,
    credentials: { accessKeyId: AWS_ACCESS_KEY_ID!, secretAccessKey: AWS_SECRET_ACCESS_KEY! },
  };
  const cloudFormation = new CloudFormationClient(client);
  const StackName = "CDKToolkit";
  await cloudFormation.send(new CreateStackCommand({ StackName, TemplateBody: JSON.stringify(TOOLKIT) }));
  await waitUntilStackCreateComplete(
    { client: cloudFormation, minDelay: 1, maxDelay: 1, maxWaitTime: 30 },
    { StackName },
  );
  await cdkDeploy(STACKS.storage, STACKS.workflow);
}, 240_000);
afterAll(() => {
  moto?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe("what `cdk deploy` has put there", () => {
  it("takes an upload, which the store of the functions reads", async () => {
    const { DataBucket: Bucket } = await outputsOf(STACKS.storage);
    const s3 = new S3Client({ ...client, forcePathStyle: true });
    const key = `${keys.dataset("phantoms")}dataset.json`;
    await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: '{"name":"Phantoms"}' }));
    expect((await s3.send(new GetObjectCommand({ Bucket, Key: key }))).ServerSideEncryption).toBe("aws:kms");
    const store = new S3ObjectStore(s3);
    const bytes = await store.get(under(`s3://${Bucket}/`, key));
    expect(new TextDecoder().decode(bytes)).toBe('{"name":"Phantoms"}');
  });

  it("is the definition of workflow.asl.json, but for names in place of ARNs, and runs in the local engine", async () => {
    const { StateMachine } = await outputsOf(STACKS.workflow);
    const described = await new SFNClient(client).send(
      new DescribeStateMachineCommand({ stateMachineArn: StateMachine! }),
    );
    const deployed = JSON.parse(withNames(described.definition!));
    const committed = readFileSync(new URL("../../lib/workflow/workflow.asl.json", import.meta.url), "utf8");
    expect(deployed).toEqual(JSON.parse(committed));
    // With its ARNs, as the service would run it.
    const { result, argumentsOf } = await run({}, undefined, JSON.parse(described.definition!));
    expect(result.status).toBe("SUCCEEDED");
    expect(argumentsOf("Preprocess")[0]?.JobQueue).toMatch(/^arn:aws:imported:/);
  });
});
