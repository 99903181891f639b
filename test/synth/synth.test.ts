// The whole app, synthesised once, as `npx cdk synth` does: what cfn-lint and CDK's own checks do not see.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import aslValidator from "asl-validator";
import type { App } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { validateDefinition } from "../../lib/local/asl/index.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import { buildDefinition } from "../../lib/workflow/build.ts";

const STACKS = ["VoxelburstStorage", "VoxelburstNetwork", "VoxelburstFleet", "VoxelburstWorkflow"] as const;
const committed = readFileSync(new URL("../../lib/workflow/workflow.asl.json", import.meta.url), "utf8");

let app: App;
let outdir: string;
/** Of a processor: what else the machine does meanwhile does not count. */
let seconds: number;
const templates = {} as Record<(typeof STACKS)[number], Template>;

beforeAll(() => {
  outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-synth-"));
  const started = process.cpuUsage();
  app = voxelburstApp({ outdir });
  for (const { stackName, template } of app.synth().stacks)
    templates[stackName as (typeof STACKS)[number]] = Template.fromJSON(template);
  const { user, system } = process.cpuUsage(started);
  seconds = (user + system) / 1e6;
}, 300_000);
afterAll(() => rmSync(outdir, { recursive: true }), 60_000);

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: object;
  Principal?: unknown;
}
const listOf = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

/** Every statement of every identity policy, with the logical id of the policy, or of the role that has it inline. */
function identityStatements(): { policy: string; statement: Statement }[] {
  return STACKS.flatMap((stack) => [
    ...Object.entries(templates[stack].findResources("AWS::IAM::Policy")).flatMap(([policy, resource]) =>
      (resource.Properties.PolicyDocument.Statement as Statement[]).map((statement) => ({ policy, statement })),
    ),
    ...Object.entries(templates[stack].findResources("AWS::IAM::Role")).flatMap(([policy, { Properties }]) =>
      (Properties.Policies ?? []).flatMap(({ PolicyDocument }: { PolicyDocument: { Statement: Statement[] } }) =>
        PolicyDocument.Statement.map((statement) => ({ policy, statement })),
      ),
    ),
  ]);
}

const statementsOf = (policy: RegExp) =>
  identityStatements()
    .filter((each) => policy.test(each.policy))
    .map(({ statement }) => statement);

const allowed = (statements: Statement[], action: string) =>
  statements.filter((statement) => listOf(statement.Action).includes(action));

describe("synthesis", () => {
  it("has the four stacks, and takes less than a minute", () => {
    expect(Object.keys(templates).sort()).toEqual([...STACKS].sort());
    expect(seconds).toBeLessThan(60);
  });

  it("asks for no account, no region and no look-up", () => {
    for (const stack of app.synth().stacks)
      expect(stack.environment).toMatchObject({ account: "unknown-account", region: "unknown-region" });
    expect(app.synth().manifest.missing ?? []).toEqual([]);
  });

  it("leaves no finding of CDK's own rules and no warning", () => {
    // Without it they are looked for, and none is an error.
    expect(app.node.tryGetContext("@aws-cdk/core:validateAgainstDefaultRules")).toBe(true);
    const report = JSON.parse(readFileSync(path.join(outdir, "validation-report.json"), "utf8"));
    expect(report.pluginReports).toEqual([]);
    const messages = app.synth().stacks.flatMap((stack) => stack.messages);
    expect(messages.filter(({ level }) => level !== "info")).toEqual([]);
  });
});

describe("the state machine's definition", () => {
  it("is the committed workflow.asl.json; `npm run build` writes it", () => {
    expect(JSON.parse(buildDefinition(app))).toEqual(JSON.parse(committed));
    expect(buildDefinition(app)).toBe(committed);
  });

  it("is valid to asl-validator and to the local interpreter", () => {
    expect(aslValidator(JSON.parse(committed))).toMatchObject({ isValid: true, errors: [] });
    expect(() => validateDefinition(JSON.parse(committed))).not.toThrow();
  });

  it("asks for nothing that the services refuse: no volume key on types with NVMe, no heartbeat of a job", () => {
    expect(committed).not.toContain("VolumeKmsKeyId");
    // ASL has heartbeats for callbacks and activities alone: the guard looks for progress instead.
    expect(committed).not.toContain("HeartbeatSeconds");
  });

  it("puts SageMaker's jobs into the private subnets, with the jobs' own group", () => {
    const inVpc = statesIn(JSON.parse(committed)).filter(([, { Arguments }]) =>
      JSON.stringify(Arguments ?? {}).includes('"VpcConfig"'),
    );
    expect(inVpc.map(([name]) => name).sort()).toEqual(["InferModel", "Train"]);
    for (const [name, { Arguments }] of inVpc)
      expect((Arguments as { VpcConfig: object }).VpcConfig, name).toEqual({
        Subnets: [expect.stringContaining("PrivateSubnet1"), expect.stringContaining("PrivateSubnet2")],
        SecurityGroupIds: [expect.stringContaining("NetworkJobs")],
      });
  });

  it("catches every error of every task, and bounds its time", () => {
    const tasks = statesIn(JSON.parse(committed)).filter(([, state]) => state.Type === "Task");
    const names = tasks.map(([name]) => name);
    const jobs = ["Compile", "Infer", "InferTransform", "Ingest", "Preprocess", "Train", "TrainOnCluster"];
    expect(names).toEqual(expect.arrayContaining([...jobs, "Notify", "Plan", "Report"]));
    // What a job can cost is held before it starts, and settled after it.
    for (const stage of ["Compile", "Infer", "Ingest", "Preprocess", "Train"])
      expect(names).toEqual(expect.arrayContaining([`${stage}Reserve`, `${stage}Settle`]));
    for (const [name, state] of tasks) {
      expect(state.Catch?.at(-1)?.ErrorEquals, name).toEqual(["States.ALL"]);
      expect(state.TimeoutSeconds, name).toBeDefined();
      if (!jobs.includes(name)) continue;
      // No ErrorEquals on a job names what its container said: a job's failure is always States.TaskFailed.
      for (const { ErrorEquals } of [...(state.Retry ?? []), ...(state.Catch ?? [])])
        for (const error of ErrorEquals)
          expect(error, name).toMatch(/^(States\.(ALL|TaskFailed|QueryEvaluationError)|(Batch|SageMaker)\.\w+)$/);
    }
  });

  it("gives a job less time in all than its state waits", () => {
    for (const [name, state] of statesIn(JSON.parse(committed))) {
      const attempt = state.Arguments?.Timeout?.AttemptDurationSeconds;
      if (attempt === undefined) continue;
      const [, seconds] = /^\{% (.+) %\}$/.exec(attempt)!;
      // Three attempts, each of which waits for its instance.
      expect(state.TimeoutSeconds, name).toContain(`{% 3 * (${seconds} + `);
      expect(state.TimeoutSeconds, name).toContain("[0].waitSeconds + ");
    }
  });
});

describe("the state machine's role", () => {
  const role = () => statementsOf(/^WorkflowStateMachineRole/);

  it("may do what `.sync` of Batch needs, on our queues and definitions", () => {
    const submit = allowed(role(), "batch:SubmitJob").flatMap(({ Resource }) => listOf(Resource));
    const queues = Object.keys(templates.VoxelburstFleet.findResources("AWS::Batch::JobQueue"));
    const definitions = Object.keys(templates.VoxelburstWorkflow.findResources("AWS::Batch::JobDefinition"));
    expect(submit).toHaveLength(queues.length + definitions.length);
    for (const queue of queues) expect(JSON.stringify(submit)).toContain(queue);
    for (const definition of definitions) expect(submit).toContainEqual({ Ref: definition });
    expect(JSON.stringify(submit)).not.toContain("*");
    expect(allowed(role(), "batch:DescribeJobs")).toHaveLength(1);
    expect(JSON.stringify(allowed(role(), "batch:TerminateJob")[0]?.Resource)).toContain(":job/*");
    expect(JSON.stringify(allowed(role(), "events:PutRule"))).toContain("rule/StepFunctionsGetEventsForBatchJobsRule");
  });

  it("may do what `.sync` of a training job needs, on jobs of our names, and pass on the training role alone", () => {
    for (const action of ["CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags", "ListTags"])
      expect(JSON.stringify(allowed(role(), `sagemaker:${action}`)[0]?.Resource), action).toContain(
        ":training-job/train-*",
      );
    const events = allowed(role(), "events:PutRule");
    for (const kind of ["Training", "Transform"])
      expect(JSON.stringify(events)).toContain(`rule/StepFunctionsGetEventsForSageMaker${kind}JobsRule`);
    expect(listOf(events[0]?.Action).sort()).toEqual(["events:DescribeRule", "events:PutRule", "events:PutTargets"]);
    const pass = allowed(role(), "iam:PassRole");
    expect(pass.flatMap(({ Resource }) => listOf(Resource))).toEqual([
      { "Fn::GetAtt": [expect.stringMatching(/^InferTransformRole/), "Arn"] },
      { "Fn::GetAtt": [expect.stringMatching(/^TrainRole/), "Arn"] },
    ]);
    for (const { Condition } of pass)
      expect(Condition).toEqual({ StringEquals: { "iam:PassedToService": "sagemaker.amazonaws.com" } });
  });

  it("may use the key of the topic that it publishes to", () => {
    expect(allowed(role(), "sns:Publish")).toHaveLength(1);
    expect(allowed(role(), "kms:Decrypt")).toHaveLength(1);
  });
});

describe("permissions", () => {
  it("name every action", () => {
    for (const { policy, statement } of identityStatements())
      for (const action of listOf(statement.Action))
        expect(action, policy).toMatch(/^[a-z0-9-]+:[A-Za-z]+$|^kms:GenerateDataKey\*$/);
  });

  // IAM's service authorization reference, as cfn-lint carries it: neither CDK nor cfn-lint's errors see a wrong action.
  const reference = path.resolve(
    import.meta.dirname,
    "../../.venv/lib/python3.11/site-packages/cfnlint/data/AdditionalSpecs/Policies.json",
  );
  const hasReference = existsSync(reference);
  interface Service {
    Actions: Record<string, { Resources?: string[] }>;
  }
  const published = (): Record<string, Service> => JSON.parse(readFileSync(reference, "utf8"));

  it.skipIf(!hasReference)("name actions that exist", () => {
    const services = published();
    for (const { policy, statement } of identityStatements())
      for (const action of listOf(statement.Action)) {
        const [service, name] = action.toLowerCase().replace(/\*$/, "").split(":") as [string, string];
        expect(services[service]?.Actions, `${policy} ${action}`).toHaveProperty(name);
      }
  });

  it.skipIf(!hasReference)("name every resource that the service lets be named", () => {
    const services = published();
    for (const { policy, statement } of identityStatements()) {
      if (!listOf(statement.Resource).includes("*")) continue;
      for (const action of listOf(statement.Action)) {
        const [service, name] = action.toLowerCase().split(":") as [string, string];
        // A custom metric is in no dataset; the namespace narrows it.
        if (action === "cloudwatch:PutMetricData") expect(statement.Condition, policy).toBeDefined();
        else expect(services[service]!.Actions[name]?.Resources ?? [], `${policy} ${action}`).toEqual([]);
      }
    }
  });

  it("come from no managed policy but the one that ECS instances need", () => {
    const attached = STACKS.flatMap((stack) =>
      Object.entries(templates[stack].findResources("AWS::IAM::Role")).flatMap(([role, { Properties }]) =>
        (Properties.ManagedPolicyArns ?? []).map((arn: object) => `${role} ${JSON.stringify(arn)}`),
      ),
    );
    expect(attached.filter((each) => !/InstanceRole.*AmazonEC2ContainerServiceforEC2Role/.test(each))).toEqual([]);
  });

  /** Key patterns below the artefacts bucket, "Data:" or "Quarantine:" in front for the others. */
  const patterns = (policy: RegExp, action: string) =>
    allowed(statementsOf(policy), action)
      .flatMap((statement) => listOf(statement.Resource))
      .map((resource) => {
        const text = JSON.stringify(resource);
        const bucket = /Storage(Data|Artefacts|Quarantine)/.exec(text)?.[1];
        const pattern = /"\/([^"]*)"\]\]/.exec(text)?.[1];
        return `${bucket === "Artefacts" ? "" : `${bucket}:`}${pattern}`;
      })
      .sort();

  const ownFiles = ["runs/*/errors/*", "runs/*/results/*"];
  it.each([
    ["Ingest", /^IngestJobRole/, ["Quarantine:*", "ingest/*", ...ownFiles, "runs/*/ingest/*"]],
    ["Preprocess", /^PreprocessJobRole/, ["preprocess/*", ...ownFiles]],
    ["Train", /^TrainRole/, ["train/*", ...ownFiles, "runs/*/sagemaker/*"]],
    ["Compile", /^CompileJobRole/, ["compile/*", ...ownFiles]],
    ["Infer", /^InferJobRole/, ["infer/*", ...ownFiles, "runs/*/infer/*", "runs/*/masks/*"]],
    ["plan", /^PlanFunctionRole/, ["runs/*"]],
    ["report", /^ReportFunctionRole/, ["nightly/*/*", "runs/*/report/*"]],
    ["start-run", /^TriggerFunctionRole/, ["runs/*"]],
  ])("let %s write its own prefixes alone", (_stage, policy, expected) => {
    expect(patterns(policy, "s3:PutObject")).toEqual(expected.toSorted());
    expect(allowed(statementsOf(policy), "s3:DeleteObject")).toEqual([]);
  });

  const tasks = ["runs/*/plan.json", "runs/*/tasks/*"];
  it.each([
    ["Ingest", /^IngestJobRole/, ["Data:datasets/*", "ingest/*", "runs/*/tasks/*"]],
    ["Preprocess", /^PreprocessJobRole/, ["ingest/*", "preprocess/*", ...tasks]],
    ["Train", /^TrainRole/, ["preprocess/*", "train/*", ...tasks]],
    ["Compile", /^CompileJobRole/, ["preprocess/*", "train/*", ...tasks]],
    ["Infer", /^InferJobRole/, ["compile/*", "infer/*", "ingest/*", "runs/*/masks/*", ...tasks]],
    ["plan", /^PlanFunctionRole/, ["*"]],
    ["report", /^ReportFunctionRole/, ["*"]],
    ["start-run", /^TriggerFunctionRole/, ["Data:datasets/*", "runs/*"]],
  ])("let %s read what it works on alone", (_stage, policy, expected) => {
    expect(patterns(policy, "s3:GetObject")).toEqual(expected.toSorted());
  });
});

describe("job definitions", () => {
  /** Its one container a node, and the instance type where it names one. */
  const definitions = () =>
    Object.entries(templates.VoxelburstWorkflow.findResources("AWS::Batch::JobDefinition")).map(
      ([name, { Properties }]) => {
        const [range] = Properties.NodeProperties?.NodeRangeProperties ?? [];
        const [task] = (range ?? Properties).EcsProperties.TaskProperties;
        expect(task.Containers, name).toHaveLength(1);
        return {
          name,
          Properties,
          type: range?.InstanceTypes?.[0] as string | undefined,
          container: task.Containers[0],
        };
      },
    );
  const wanted = (container: { ResourceRequirements: { Type: string; Value: string }[] }) =>
    Object.fromEntries(container.ResourceRequirements.map(({ Type, Value }) => [Type, Number(Value)]));

  it("run as the image's own user, on one node and on several", () => {
    // Stated here again: the image's user, which containers/images/gpu.Dockerfile makes.
    for (const { name, container } of definitions()) expect(container.User, name).toBe("10001");
    expect(definitions().some(({ Properties }) => Properties.Type === "multinode")).toBe(true);
    const image = readFileSync(new URL("../../containers/images/gpu.Dockerfile", import.meta.url), "utf8");
    expect(image).toMatch(/^USER 10001$|useradd --uid 10001 /m);
  });

  it("are one a stage and instance type", () => {
    expect(
      definitions()
        .map(({ name }) => name.replace(/Definition(.*).{8}$/, " $1"))
        .sort(),
    ).toEqual([
      "CompileJob P54xlarge",
      "InferJob P54xlarge",
      "IngestJob ",
      "PreprocessJob P54xlarge",
      "TrainCluster P54xlarge",
    ]);
  });

  it("retry a reclaimed host, and end with EXIT for everything else", () => {
    for (const { name, Properties } of definitions()) {
      const { Attempts, EvaluateOnExit } = Properties.RetryStrategy;
      expect(Attempts, name).toBe(3);
      // The last one for a job whose container never started: it has a status reason alone.
      expect(EvaluateOnExit, name).toEqual([
        { Action: "RETRY", OnStatusReason: "Host EC2*" },
        { Action: "EXIT", OnReason: "*" },
        { Action: "EXIT", OnStatusReason: "*" },
      ]);
      expect(Properties.Timeout.AttemptDurationSeconds, name).toBeGreaterThanOrEqual(60);
    }
  });

  it("keep as many threads busy as they have vCPUs, not as many as their instance has cores", () => {
    for (const { name, container } of definitions())
      expect(container.Environment, name).toContainEqual({
        Name: "OMP_NUM_THREADS",
        Value: String(wanted(container).VCPU),
      });
  });

  it("know their region, have shared and locked memory, the scratch disk and two minutes to stop, and no privileges", () => {
    for (const { name, container } of definitions()) {
      expect(container.Environment, name).toContainEqual({ Name: "AWS_DEFAULT_REGION", Value: { Ref: "AWS::Region" } });
      expect(container.LinuxParameters.SharedMemorySize, name).toBeGreaterThan(64);
      expect(container.Ulimits, name).toEqual([{ Name: "memlock", SoftLimit: -1, HardLimit: -1 }]);
      expect(container.MountPoints, name).toEqual([{ ContainerPath: "/scratch", SourceVolume: "scratch" }]);
      expect(container.StopTimeout, name).toBe(120);
      expect(container, name).not.toHaveProperty("Privileged");
    }
  });

  it("ask for a GPU, those of several nodes for all of the instance's, and ingest's for none", () => {
    const gpus = definitions().map(({ name, container }) => [name.replace(/Definition.*/, ""), wanted(container).GPU]);
    expect(Object.fromEntries(gpus)).toEqual({
      IngestJob: undefined,
      PreprocessJob: 1,
      CompileJob: 1,
      InferJob: 1,
      TrainCluster: 1, // a p5.4xlarge has one
    });
  });
});

describe("jobs of Batch", () => {
  it("write to the app's own log group: Batch would make /aws/batch/job, without key and retention", () => {
    const definitions = Object.entries(templates.VoxelburstWorkflow.findResources("AWS::Batch::JobDefinition"));
    expect(definitions.length).toBeGreaterThan(4);
    for (const [name, { Properties }] of definitions) {
      const text = JSON.stringify(Properties);
      const containers = text.match(/"Essential":/gi)?.length ?? 0;
      expect(containers, name).toBeGreaterThan(0);
      expect(text.match(/"awslogs-group":\{"Ref":"JobLogs/gi), name).toHaveLength(containers);
    }
  });
});

describe("instances", () => {
  it("carry the tag that budgets and the bill look at, which Batch does not take from the environment's own", () => {
    const environments = Object.entries(templates.VoxelburstFleet.findResources("AWS::Batch::ComputeEnvironment"));
    expect(environments.length).toBeGreaterThan(2);
    for (const [name, { Properties }] of environments)
      expect(Properties.ComputeResources.Tags, name).toMatchObject({ application: "voxelburst" });
  });
});

describe("the trigger", () => {
  it("has one wildcard, since a prefix and a suffix in one list would be ORed", () => {
    templates.VoxelburstWorkflow.hasResourceProperties("AWS::Events::Rule", {
      EventPattern: {
        source: ["aws.s3"],
        "detail-type": ["Object Created"],
        detail: { object: { key: [{ wildcard: "datasets/*/dataset.json" }] } },
      },
      Targets: [{ DeadLetterConfig: Match.anyValue(), RetryPolicy: { MaximumEventAgeInSeconds: 86_400 } }],
    });
  });

  it("loses nothing: the function has a dead-letter queue of its own", () => {
    templates.VoxelburstWorkflow.hasResourceProperties("AWS::Lambda::Function", {
      Description: Match.stringLikeRegexp("start-run"),
      DeadLetterConfig: { TargetArn: Match.anyValue() },
    });
  });

  it("hears of uploads through EventBridge, set on the bucket itself", () => {
    templates.VoxelburstStorage.hasResourceProperties("AWS::S3::Bucket", {
      NotificationConfiguration: { EventBridgeConfiguration: { EventBridgeEnabled: true } },
    });
    for (const stack of STACKS) templates[stack].resourceCountIs("Custom::S3BucketNotifications", 0);
  });
});

describe("functions", () => {
  it("run on Node 24 and carry their own SDK", () => {
    for (const { Properties } of Object.values(templates.VoxelburstWorkflow.findResources("AWS::Lambda::Function"))) {
      expect(Properties.Runtime).toBe("nodejs24.x");
      expect(Properties.LoggingConfig).toMatchObject({ LogFormat: "JSON" });
    }
    const bundles = readdirSync(outdir)
      .map((name) => path.join(outdir, name, "index.mjs"))
      .filter((file) => statSync(file, { throwIfNoEntry: false }));
    const functions = Object.values(templates.VoxelburstWorkflow.findResources("AWS::Lambda::Function"));
    expect(bundles).toHaveLength(functions.length);
    const sizes = bundles.map((bundle) => {
      const code = readFileSync(bundle, "utf8");
      expect(code).not.toMatch(/from\s*["']@aws-sdk/);
      return Buffer.byteLength(code);
    });
    // Of less than 1 MiB each, but for report's, which carries what the page is drawn with.
    const [report, ...others] = sizes.toSorted((a, b) => b - a);
    expect(report).toBeLessThan(2 * 2 ** 20);
    for (const bytes of others) expect(bytes).toBeLessThan(2 ** 20);
  });
});

describe("log groups", () => {
  it("are all encrypted with the logs' key and expire", () => {
    const groups = STACKS.flatMap((stack) => Object.entries(templates[stack].findResources("AWS::Logs::LogGroup")));
    expect(groups.length).toBeGreaterThanOrEqual(8);
    for (const [id, { Properties }] of groups) {
      expect(JSON.stringify(Properties.KmsKeyId), id).toContain("LogKey");
      expect(Properties.RetentionInDays, id).toBe(365);
    }
  });
});

describe("buckets", () => {
  it("are private, versioned, encrypted with our key, refuse plain HTTP and stay when the stack goes", () => {
    const buckets = Object.entries(templates.VoxelburstStorage.findResources("AWS::S3::Bucket"));
    expect(buckets).toHaveLength(4);
    for (const [id, { Properties, DeletionPolicy }] of buckets) {
      expect(Object.values(Properties.PublicAccessBlockConfiguration), id).toEqual([true, true, true, true]);
      expect(Properties.VersioningConfiguration, id).toEqual({ Status: "Enabled" });
      expect(DeletionPolicy, id).toBe("Retain");
      const [rule] = Properties.BucketEncryption.ServerSideEncryptionConfiguration;
      // S3 delivers access logs to buckets with S3's own keys only.
      const algorithm = id.startsWith("StorageAccessLogs") ? "AES256" : "aws:kms";
      expect(rule.ServerSideEncryptionByDefault.SSEAlgorithm, id).toBe(algorithm);
      expect(Properties.LoggingConfiguration !== undefined, id).toBe(algorithm === "aws:kms");
      templates.VoxelburstStorage.hasResourceProperties("AWS::S3::BucketPolicy", {
        Bucket: { Ref: id },
        PolicyDocument: {
          Statement: Match.arrayWith([
            Match.objectLike({ Effect: "Deny", Condition: { Bool: { "aws:SecureTransport": "false" } } }),
          ]),
        },
      });
    }
  });
});

describe("the network", () => {
  const network = () => templates.VoxelburstNetwork;

  it("has no way out: no internet gateway, no NAT, no public address", () => {
    for (const type of ["AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::Route"])
      network().resourceCountIs(type, 0);
    network().allResourcesProperties("AWS::EC2::Subnet", { MapPublicIpOnLaunch: false });
  });

  it("reaches every service that the jobs' roles may call, through the endpoint of that service", () => {
    const services = new Set(
      Object.values(network().findResources("AWS::EC2::VPCEndpoint")).map(
        // {"Fn::Join": ["", ["com.amazonaws.", region, ".ecr.api"]]}
        ({ Properties }) => (Properties.ServiceName["Fn::Join"][1] as string[]).at(-1)!.split(".")[1],
      ),
    );
    const roles = Object.entries(templates.VoxelburstWorkflow.findResources("AWS::IAM::Role")).filter(([, role]) =>
      JSON.stringify(role.Properties.AssumeRolePolicyDocument).includes("ecs-tasks.amazonaws.com"),
    );
    expect(roles.length).toBeGreaterThanOrEqual(10);
    const called = identityStatements()
      .filter(({ policy }) => roles.some(([role]) => policy.startsWith(role.slice(0, -8))))
      .flatMap(({ statement }) => listOf(statement.Action).map((action) => action.split(":")[0]!));
    // secretsmanager: the agent fetches the key that patients are hashed with, by ingest's execution role.
    expect(new Set(called)).toEqual(new Set(["s3", "kms", "ecr", "logs", "secretsmanager"]));
    // S3 calls KMS on the job's behalf; instances and their agent call ecs.
    for (const service of [...new Set(called), "ecs"].filter((name) => name !== "kms"))
      expect(services).toContain(service);
  });

  it("lets nobody in but the jobs themselves", () => {
    for (const [id, { Properties }] of Object.entries(network().findResources("AWS::EC2::SecurityGroup"))) {
      expect(Properties.SecurityGroupIngress, id).toBeUndefined();
      const everything = (Properties.SecurityGroupEgress ?? []).filter(
        ({ IpProtocol, CidrIp }: Record<string, string>) => IpProtocol === "-1" && CidrIp === "0.0.0.0/0",
      );
      expect(everything, id).toEqual([]);
    }
    const sources = Object.values(network().findResources("AWS::EC2::SecurityGroupIngress"));
    expect(sources).toHaveLength(2);
    for (const { Properties } of sources)
      expect(JSON.stringify(Properties.SourceSecurityGroupId)).toContain("NetworkJobs");
  });
});

interface AslState {
  Type: string;
  TimeoutSeconds?: number | string;
  Retry?: { ErrorEquals: string[] }[];
  Catch?: { ErrorEquals: string[] }[];
  Arguments?: { Timeout?: { AttemptDurationSeconds: string } };
  ItemProcessor?: { States: Record<string, AslState> };
}

/** Name and state of every state, those inside maps included. */
function statesIn(machine: { States: Record<string, AslState> }): [string, AslState][] {
  return Object.entries(machine.States).flatMap(([name, state]): [string, AslState][] => [
    [name, state],
    ...(state.ItemProcessor ? statesIn(state.ItemProcessor) : []),
  ]);
}
