// What AWS's services do with the roles that they assume, as their pages say: nothing here runs them. Transcribed by
// hand in November 2026, apart from the code that grants it; unverified on a real account.

export interface Row {
  /** The role's logical id. */
  role: RegExp;
  action: string;
  /** Of the resource as it stands in the statement. */
  resource: RegExp;
  why: string;
  page: string;
}

const rows = (
  role: RegExp,
  page: string,
  list: readonly (readonly [actions: string, resource: RegExp, why: string])[],
): Row[] =>
  list.flatMap(([actions, resource, why]) =>
    actions.split(" ").map((action) => ({ role, action, resource, why, page })),
  );

const ANY = /^\*$/;
const FUNCTION = /^(Trigger|Plan|Report|Guard)FunctionRole|^Ledger(Reserve|Settle)Role/;
const CONTAINER = /^(Ingest|Preprocess|Compile|Infer)JobRole|^Train(Cluster)?Role|^InferTransformRole/;
const EXECUTION = /ExecutionRole/;
const SAGEMAKER = /^TrainRole|^InferTransformRole/;
const MACHINE = /^WorkflowStateMachineRole/;
const docs = (path: string) => `https://docs.aws.amazon.com/${path}`;
const stepFunctions = (page: string) => docs(`step-functions/latest/dg/${page}.html`);

export const SERVICE_ROWS: Row[] = [
  ...rows(FUNCTION, docs("lambda/latest/dg/monitoring-cloudwatchlogs.html"), [
    ["logs:CreateLogStream logs:PutLogEvents", /:log-group:\w+Logs\w+:\*$/, "Lambda writes what the function prints"],
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
      "ec2:CreateNetworkInterface ec2:CreateNetworkInterfacePermission ec2:DeleteNetworkInterface ec2:DeleteNetworkInterfacePermission",
      /:(network-interface|subnet|security-group)\/\*$/,
      "in a VPC each instance gets a network interface",
    ],
    [
      "ec2:DescribeNetworkInterfaces ec2:DescribeVpcs ec2:DescribeDhcpOptions ec2:DescribeSubnets ec2:DescribeSecurityGroups",
      ANY,
      "in a VPC the network is looked at first",
    ],
    ["kms:Encrypt", /:key\//, "the output configuration names a key"],
  ]),
  ...rows(/^TrainRole/, docs("sagemaker/latest/dg/sagemaker-roles.html"), [
    ["s3:GetObject", /\/(preprocess|train)\/\*$/, "channels and checkpoints are fetched"],
    ["s3:PutObject", /\/(train|runs\/\*\/sagemaker)\/\*$/, "checkpoints and the archive of the model are put"],
  ]),
  ...rows(/^InferTransformRole/, docs("sagemaker/latest/dg/sagemaker-roles.html"), [
    ["s3:GetObject s3:PutObject", /^arn:aws:s3:::artefacts\//, "records are read, and answers are written"],
    ["s3:ListBucket", /^arn:aws:s3:::artefacts$/, "the input is listed"],
    ["kms:Decrypt kms:GenerateDataKey", /:key\//, "both are encrypted with the data key"],
  ]),
  ...rows(MACHINE, stepFunctions("connect-batch"), [
    ["batch:SubmitJob", /:other:|:batch:/, "runs a job, on our queues and definitions"],
    ["batch:DescribeJobs", ANY, ".sync polls it; no resource-level permissions"],
    ["batch:TerminateJob", /:job\/\*$/, ".sync stops it with the execution"],
    ["batch:ListJobs", ANY, "the children of a failed array are asked why"],
    [
      "events:PutTargets events:PutRule events:DescribeRule",
      /:rule\/StepFunctionsGetEventsForBatchJobsRule$/,
      ".sync hears of its end",
    ],
  ]),
  ...rows(MACHINE, stepFunctions("connect-sagemaker"), [
    [
      "sagemaker:CreateTrainingJob sagemaker:DescribeTrainingJob sagemaker:StopTrainingJob sagemaker:ListTags sagemaker:AddTags",
      /:training-job\/train-\*$/,
      "runs a training to its end",
    ],
    [
      "sagemaker:CreateTransformJob sagemaker:DescribeTransformJob sagemaker:StopTransformJob sagemaker:ListTags sagemaker:AddTags",
      /:transform-job\/infer-\*$/,
      "runs a transform to its end",
    ],
    ["sagemaker:CreateModel sagemaker:AddTags", /:model\/infer-\*$/, "a transform has a model"],
    ["sagemaker:DeleteModel", /:model\/infer-\*$/, "which goes with it"],
    ["iam:PassRole", /:role\/(TrainRole|InferTransformRole)/, "SageMaker works with it"],
    [
      "events:PutTargets events:PutRule events:DescribeRule",
      /:rule\/StepFunctionsGetEventsForSageMaker(Training|Transform)JobsRule$/,
      ".sync hears of its end",
    ],
  ]),
  ...rows(MACHINE, stepFunctions("connect-lambda"), [
    ["lambda:InvokeFunction", /:function:(Ledger|Plan|Report)\w+(:\*)?$/, "calls the functions of the machine"],
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
  ...rows(MACHINE, stepFunctions("concepts-xray-tracing"), [
    [
      "xray:PutTraceSegments xray:PutTelemetryRecords xray:GetSamplingRules xray:GetSamplingTargets",
      ANY,
      "traces its runs; no resource-level permissions",
    ],
  ]),
  ...rows(/^Nightly\w*Role/, docs("scheduler/latest/UserGuide/setting-up.html"), [
    ["lambda:InvokeFunction", /:function:Trigger\w+(:\*)?$/, "the schedule calls start-run"],
    ["kms:Decrypt", /:key\//, "what the schedule hands on is encrypted with the data key"],
  ]),
  ...rows(/^Nightly\w*Role/, docs("scheduler/latest/UserGuide/configuring-schedule-dlq.html"), [
    ["sqs:SendMessage", /:Nightly\w*Undelivered\w+$/, "a night that could not be started is put aside"],
  ]),
  ...rows(
    /^Image\w*BuildEventsRole|^Image\w*EventsRole/,
    docs("eventbridge/latest/userguide/eb-use-identity-based.html"),
    [["codebuild:StartBuild", /Build/, "the rule starts the build"]],
  ),
  ...rows(/^Image(?!\w*Events)\w*Role/, docs("codebuild/latest/userguide/setting-up-service-role.html"), [
    ["s3:GetObject s3:GetObjectVersion", /^arn:aws:s3:::.*\.zip$/, "the source is fetched"],
    ["s3:GetBucketAcl s3:GetBucketLocation", /^arn:aws:s3:::[^/]+$/, "the source's bucket is looked at"],
    ["logs:CreateLogStream logs:PutLogEvents", /:log-group:/, "the build's log is written"],
    ["kms:Decrypt kms:GenerateDataKey", /:key\//, "the project is encrypted with the data key"],
  ]),
  ...rows(/^Image(?!\w*Events)\w*Role/, docs("AmazonECR/latest/userguide/image-push-iam.html"), [
    ["ecr:GetAuthorizationToken", ANY, "docker logs in"],
    [
      "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CompleteLayerUpload ecr:DescribeImages ecr:GetDownloadUrlForLayer ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart",
      /Repository/,
      "the image is looked for, and pushed",
    ],
  ]),
];
