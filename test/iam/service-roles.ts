// What AWS's services do with the roles that they assume, as their pages say: nothing here runs them. Transcribed by
// hand in November 2026, apart from the code that grants it; unverified on a real account. Each page was looked up in
// stored copies of AWS's documentation, and names the actions of its rows, but for what the comments say was not found.

export interface Row {
  /** The role's logical id. */
  role: RegExp;
  action: string;
  /** Of the one resource as it stands in the statement. */
  resource: RegExp;
  why: string;
  page: string;
}

/** Of several resources each is needed, and makes a row. */
const rows = (
  role: RegExp,
  page: string,
  list: readonly (readonly [actions: string, resources: RegExp | readonly RegExp[], why: string])[],
): Row[] =>
  list.flatMap(([actions, resources, why]) =>
    actions
      .split(" ")
      .flatMap((action) => [resources].flat().map((resource) => ({ role, action, resource, why, page }) as Row)),
  );

const ANY = /^\*$/;
const FUNCTION = /^(Trigger|Plan|Report|Guard)FunctionRole|^Ledger(Reserve|Settle)Role|^CustomVpcRestrictDefaultSG/;
const CONTAINER = /^(Ingest|Preprocess|Compile|Infer)JobRole|^Train(Cluster)?Role|^InferTransformRole/;
const EXECUTION = /ExecutionRole/;
const SAGEMAKER = /^TrainRole|^InferTransformRole/;
const MACHINE = /^WorkflowStateMachineRole/;
const MACHINE_FUNCTIONS = ["LedgerReserve", "LedgerSettle", "PlanFunction", "ReportFunction"];
/** CDK grants a function together with its versions, of which ours have none. */
const withVersions = (name: string) => [
  new RegExp(`:function:${name}[0-9A-Za-z]+$`),
  new RegExp(`:function:${name}[0-9A-Za-z]+:\\*$`),
];
const docs = (path: string) => `https://docs.aws.amazon.com/${path}`;
const stepFunctions = (page: string) => docs(`step-functions/latest/dg/${page}.html`);

export const SERVICE_ROWS: Row[] = [
  // logs:CreateLogGroup stands there too: our groups exist, with a key and a retention, and nobody makes another.
  ...rows(FUNCTION, docs("lambda/latest/dg/monitoring-cloudwatchlogs.html"), [
    ["logs:CreateLogStream logs:PutLogEvents", /:log-group:\w+Logs\w+:\*$/, "Lambda writes what the function prints"],
  ]),
  ...rows(/^CustomVpcRestrictDefaultSG/, docs("cdk/api/v2/docs/aws-cdk-lib.aws_ec2.Vpc.html"), [
    [
      "ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress ec2:AuthorizeSecurityGroupEgress",
      /:security-group\/\w+\.DefaultSecurityGroup$/,
      "CDK's function closes the VPC's default group, and opens it again when the stack goes",
    ],
  ]),
  ...rows(/^TriggerFunctionRole/, docs("lambda/latest/dg/invocation-async-retain-records.html"), [
    ["sqs:SendMessage", /:TriggerFailed\w+$/, "Lambda puts an event aside that failed three times"],
  ]),
  ...rows(CONTAINER, docs("AmazonS3/latest/userguide/mpuoverview.html"), [
    ["s3:AbortMultipartUpload", /^arn:aws:s3:::/, "s3fs ends what it could not upload: nothing fails here"],
  ]),
  ...rows(CONTAINER, "containers/src/voxelburst/stage.py", [
    [
      "s3:PutObject",
      /^arn:aws:s3:::artefacts\/runs\/\*\/errors\/\*$/,
      "a stage that fails writes why: none fails here",
    ],
  ]),
  // The API's page was not found in the search; pages that quote it were.
  ...rows(/^(Train(Cluster)?|CompileJob)Role/, docs("AmazonS3/latest/API/API_GetObject.html"), [
    ["s3:ListBucket", /^arn:aws:s3:::artefacts$/, "without it a missing object looks like a forbidden one"],
  ]),
  ...rows(/^Infer(Job|Transform)Role/, "containers/src/voxelburst/stages/infer.py", [
    ["s3:GetObject", /\/runs\/\*\/masks\/\*$/, "a child that starts again looks whether a mask is there already"],
  ]),
  ...rows(/^ReportFunctionRole/, "docs/decisions/0010-nightly-gate.md", [
    ["s3:PutObject", /\/nightly\/\*\/\*$/, "a night's measures are kept; this run is no night's"],
  ]),
  ...rows(EXECUTION, docs("AmazonECS/latest/developerguide/task_execution_IAM_role.html"), [
    ["ecr:GetAuthorizationToken", ANY, "the agent logs in to ECR, which has no resource for that"],
    [
      "ecr:BatchCheckLayerAvailability ecr:GetDownloadUrlForLayer ecr:BatchGetImage",
      /:repository\//,
      "the agent pulls the image",
    ],
    [
      "logs:CreateLogStream logs:PutLogEvents",
      /:log-group:jobs:\*$/,
      "the awslogs driver writes what a container prints",
    ],
  ]),
  ...rows(/^IngestJobExecutionRole/, docs("batch/latest/userguide/specifying-sensitive-data-secrets.html"), [
    ["secretsmanager:GetSecretValue", /:secret:/, "the agent puts the pseudonym key into ingest's environment"],
    ["kms:Decrypt", /:key\//, "the secret is encrypted with the data key"],
  ]),
  ...rows(SAGEMAKER, docs("sagemaker/latest/dg/sagemaker-roles.html"), [
    ["ecr:GetAuthorizationToken", ANY, "the image is pulled"],
    [
      "ecr:BatchCheckLayerAvailability ecr:GetDownloadUrlForLayer ecr:BatchGetImage",
      /:repository\//,
      "the image is pulled",
    ],
    [
      "logs:CreateLogGroup logs:CreateLogStream logs:DescribeLogStreams logs:PutLogEvents",
      /:log-group:\/aws\/sagemaker\/(Training|Transform)Jobs\*?/,
      "SageMaker writes what a container prints",
    ],
    ["cloudwatch:PutMetricData", ANY, "SageMaker measures its instances"],
    [
      "ec2:CreateNetworkInterface",
      [/:network-interface\/\*$/, /:subnet\/\*$/, /:security-group\/\*$/],
      "in a VPC each instance gets a network interface, in a subnet and with a group",
    ],
    // The page has "*"; EC2's reference names the interface alone.
    [
      "ec2:CreateNetworkInterfacePermission ec2:DeleteNetworkInterface ec2:DeleteNetworkInterfacePermission",
      /:network-interface\/\*$/,
      "which is lent to SageMaker's account, and goes with the instance",
    ],
    [
      "ec2:DescribeNetworkInterfaces ec2:DescribeVpcs ec2:DescribeDhcpOptions ec2:DescribeSubnets ec2:DescribeSecurityGroups",
      ANY,
      "in a VPC the network is looked at first",
    ],
    ["kms:Encrypt", /:key\//, "the output configuration names a key"],
  ]),
  ...rows(/^TrainRole/, docs("sagemaker/latest/dg/sagemaker-roles.html"), [
    ["s3:GetObject", [/\/preprocess\/\*$/, /\/train\/\*$/], "channels and checkpoints are fetched"],
    ["s3:PutObject", [/\/train\/\*$/, /\/runs\/\*\/sagemaker\/\*$/], "checkpoints and the model's archive are put"],
  ]),
  // A transform has its model's role. CreateModel's part of the page names s3:GetObject alone; that a transform lists its
  // input and puts its answers with that role was not found in the search: both are as the page has them for a training.
  ...rows(/^InferTransformRole/, docs("sagemaker/latest/dg/sagemaker-roles.html"), [
    ["s3:GetObject", /\/runs\/\*\/tasks\/\*$/, "records are read"],
    ["s3:PutObject", /\/runs\/\*\/infer\/\*$/, "answers are written"],
    ["s3:ListBucket", /^arn:aws:s3:::artefacts$/, "the input is listed"],
  ]),
  // As test/iam/stages.test.ts sees them of a job's container, which is the transform's.
  ...rows(/^InferTransformRole/, "containers/src/voxelburst/stages/infer.py", [
    [
      "s3:GetObject",
      [/\/runs\/\*\/plan\.json$/, /\/compile\/\*$/, /\/ingest\/\*$/, /\/infer\/\*$/],
      "engines, images and results that are there already are read",
    ],
    [
      "s3:PutObject",
      [/:artefacts\/infer\/\*$/, /\/runs\/\*\/masks\/\*$/, /\/runs\/\*\/results\/\*$/],
      "masks and results are written",
    ],
  ]),
  ...rows(/^InferTransformRole/, docs("AmazonS3/latest/userguide/mpuoverview.html"), [
    ["kms:Decrypt kms:GenerateDataKey", /:key\//, "both are encrypted with the data key"],
  ]),
  // The page has "*" for all three; the reference below lets two of them be narrowed.
  ...rows(MACHINE, stepFunctions("connect-batch"), [
    [
      "batch:SubmitJob",
      [/:CpuQueue/, /:OnDemandCpuQueue/, /:SpotP54xlargeQueue/, /:OnDemandP54xlargeQueue/],
      "runs a job, on our queues",
    ],
    [
      "batch:SubmitJob",
      ["Ingest", "Preprocess", "TrainCluster", "Compile", "Infer"].map(
        (stage) => new RegExp(`:${stage}(Job)?Definition`),
      ),
      "runs a job, of our definitions",
    ],
    ["batch:DescribeJobs", ANY, ".sync polls it; no resource-level permissions"],
    ["batch:TerminateJob", /:job\/\*$/, ".sync stops it with the execution"],
    [
      "events:PutTargets events:PutRule events:DescribeRule",
      /:rule\/StepFunctionsGetEventsForBatchJobsRule$/,
      ".sync hears of its end",
    ],
  ]),
  ...rows(MACHINE, docs("service-authorization/latest/reference/list_awsbatch.html"), [
    ["batch:ListJobs", ANY, "an AWS SDK call asks the children of a failed array why; no resource-level permissions"],
  ]),
  // The page has "*" for sagemaker:ListTags.
  ...rows(MACHINE, stepFunctions("connect-sagemaker"), [
    [
      "sagemaker:CreateTrainingJob sagemaker:DescribeTrainingJob sagemaker:StopTrainingJob sagemaker:ListTags",
      /:training-job\/train-\*$/,
      "runs a training to its end",
    ],
    [
      "sagemaker:CreateTransformJob sagemaker:DescribeTransformJob sagemaker:StopTransformJob sagemaker:ListTags",
      /:transform-job\/infer-\*$/,
      "runs a transform to its end",
    ],
    ["sagemaker:CreateModel", /:model\/infer-\*$/, "a transform has a model"],
    ["sagemaker:DeleteModel", /:model\/infer-\*$/, "which goes with it"],
    ["iam:PassRole", [/:role\/TrainRole/, /:role\/InferTransformRole/], "SageMaker works with it"],
    [
      "events:PutTargets events:PutRule events:DescribeRule",
      [
        /:rule\/StepFunctionsGetEventsForSageMakerTrainingJobsRule$/,
        /:rule\/StepFunctionsGetEventsForSageMakerTransformJobsRule$/,
      ],
      ".sync hears of its end",
    ],
  ]),
  // That a Create call with Tags asks for it was not found in the search; the action and what it takes were.
  ...rows(MACHINE, docs("service-authorization/latest/reference/list_sagemaker.html"), [
    ["sagemaker:AddTags", /:training-job\/train-\*$/, "a training has tags from the start"],
    ["sagemaker:AddTags", /:transform-job\/infer-\*$/, "a transform has tags from the start"],
    ["sagemaker:AddTags", /:model\/infer-\*$/, "a model has tags from the start"],
  ]),
  ...rows(MACHINE, docs("sagemaker/latest/dg/training-plan-iam-permissions.html"), [
    ["sagemaker:CreateTrainingJob", /:training-plan\/\w+$/, "a training uses the plan"],
    ["sagemaker:CreateTrainingJob", /:reserved-capacity\/\*$/, "a training uses the capacity behind the plan"],
  ]),
  ...rows(MACHINE, stepFunctions("connect-lambda"), [
    ["lambda:InvokeFunction", MACHINE_FUNCTIONS.flatMap(withVersions), "calls the functions of the machine"],
  ]),
  ...rows(MACHINE, stepFunctions("connect-sns"), [["sns:Publish", /:notifications$/, "tells people of a run's end"]]),
  ...rows(MACHINE, docs("sns/latest/dg/sns-key-management.html"), [
    ["kms:Decrypt kms:GenerateDataKey*", /:key\//, "the topic is encrypted with the data key"],
  ]),
  ...rows(MACHINE, stepFunctions("cw-logs"), [
    [
      "logs:CreateLogDelivery logs:GetLogDelivery logs:UpdateLogDelivery logs:DeleteLogDelivery logs:ListLogDeliveries logs:PutResourcePolicy logs:DescribeResourcePolicies logs:DescribeLogGroups",
      ANY,
      "delivers its history; no resource-level permissions",
    ],
  ]),
  ...rows(MACHINE, stepFunctions("xray-iam"), [
    [
      "xray:PutTraceSegments xray:PutTelemetryRecords xray:GetSamplingRules xray:GetSamplingTargets",
      ANY,
      "traces its runs; no resource-level permissions",
    ],
  ]),
  // The page lists Lambda's Invoke, and asks for the permission of the operation that is listed.
  ...rows(/^Nightly\w*Role/, docs("scheduler/latest/UserGuide/managing-targets-templated.html"), [
    ["lambda:InvokeFunction", withVersions("Trigger"), "the schedule calls start-run"],
  ]),
  // The page was found, but only its beginning: that the role decrypts is what CDK's schedule grants.
  ...rows(/^Nightly\w*Role/, docs("scheduler/latest/UserGuide/encryption-rest.html"), [
    ["kms:Decrypt", /:key\//, "what the schedule hands on is encrypted with the data key"],
  ]),
  ...rows(/^Nightly\w*Role/, docs("scheduler/latest/UserGuide/configuring-schedule-dlq.html"), [
    ["sqs:SendMessage", /:Nightly\w*Undelivered\w+$/, "a night that could not be started is put aside"],
  ]),
  // That a rule needs it was not found in the search: EventBridge's page on the roles of targets names other targets.
  // The reference has the action, on a project; CDK's target grants it.
  ...rows(/^Image\w*EventsRole/, docs("IAM/latest/UserGuide/list_awscodebuild.html"), [
    ["codebuild:StartBuild", /Build/, "the rule starts the build"],
  ]),
  ...rows(/^Image(?!\w*Events)\w*Role/, docs("codebuild/latest/userguide/setting-up-service-role.html"), [
    ["s3:GetObject s3:GetObjectVersion", /^arn:aws:s3:::.*\.zip$/, "the source is fetched"],
    ["s3:GetBucketAcl s3:GetBucketLocation", /^arn:aws:s3:::[^/]+$/, "the source's bucket is looked at"],
    ["logs:CreateLogStream logs:PutLogEvents", /:log-group:/, "the build's log is written"],
    [
      "ecr:GetDownloadUrlForLayer",
      /Repository/,
      "the page lets every build pull; docker asks for layers that are there",
    ],
  ]),
  // The page has kms:Encrypt, kms:ReEncrypt* and kms:DescribeKey too, for artefacts: our build leaves none.
  ...rows(/^Image(?!\w*Events)\w*Role/, docs("codebuild/latest/userguide/setting-up-kms.html"), [
    ["kms:Decrypt kms:GenerateDataKey", /:key\//, "the project is encrypted with the data key"],
  ]),
  ...rows(/^Image(?!\w*Events)\w*Role/, docs("AmazonECR/latest/userguide/image-push-iam.html"), [
    ["ecr:GetAuthorizationToken", ANY, "docker logs in"],
    [
      "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart",
      /Repository/,
      "the image is pushed",
    ],
  ]),
  ...rows(/^Image(?!\w*Events)\w*Role/, "lib/cloud/image-pipeline.ts", [
    ["ecr:DescribeImages", /Repository/, "the build looks first whether its tag exists"],
  ]),
];
