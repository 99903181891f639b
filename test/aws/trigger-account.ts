// An account with what start-run needs, as the stacks make it: buckets, tables, secret, topic, state machine.
import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { CreateSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { CreateStateMachineCommand, SFNClient } from "@aws-sdk/client-sfn";
import { CreateTopicCommand, SNSClient } from "@aws-sdk/client-sns";

export const QUEUE_ARN = "arn:aws:batch:us-east-1:123456789012:job-queue/cpu";

export interface TriggerAccount {
  s3: S3Client;
  sfn: SFNClient;
  dynamo: DynamoDBClient;
  stateMachineArn: string;
  topicArn: string;
  /** What the function is told, beside how to reach the account. */
  environment: Record<string, string>;
}

export async function makeAccount(url: string, caps = { runUsd: 100, monthUsd: 100_000 }): Promise<TriggerAccount> {
  const config = {
    endpoint: url,
    region: "us-east-1",
    credentials: { accessKeyId: "setup", secretAccessKey: "s" },
  };
  const s3 = new S3Client({ ...config, forcePathStyle: true });
  const sfn = new SFNClient(config);
  const dynamo = new DynamoDBClient(config);
  for (const Bucket of ["data", "artefacts", "quarantine"]) await s3.send(new CreateBucketCommand({ Bucket }));
  const key = (AttributeName: string, KeyType: "HASH" | "RANGE") => ({ AttributeName, KeyType });
  const text = (AttributeName: string) => ({ AttributeName, AttributeType: "S" as const });
  const common = { BillingMode: "PAY_PER_REQUEST" as const };
  await dynamo.send(
    new CreateTableCommand({
      ...common,
      TableName: "ledger",
      KeySchema: [key("pk", "HASH"), key("sk", "RANGE")],
      AttributeDefinitions: [text("pk"), text("sk")],
    }),
  );
  await dynamo.send(
    new CreateTableCommand({
      ...common,
      TableName: "deliveries",
      KeySchema: [key("id", "HASH")],
      AttributeDefinitions: [text("id")],
    }),
  );
  const { ARN } = await new SecretsManagerClient(config).send(
    new CreateSecretCommand({ Name: "pseudonym", SecretString: "a secret of sixty-four characters" }),
  );
  const { TopicArn } = await new SNSClient(config).send(new CreateTopicCommand({ Name: "notifications" }));
  const { stateMachineArn } = await sfn.send(
    new CreateStateMachineCommand({
      name: "Voxelburst",
      roleArn: "arn:aws:iam::123456789012:role/StateMachine",
      definition: JSON.stringify({ StartAt: "End", States: { End: { Type: "Succeed" } } }),
    }),
  );
  return {
    s3,
    sfn,
    dynamo,
    stateMachineArn: stateMachineArn!,
    topicArn: TopicArn!,
    environment: {
      VOXELBURST_DATA_URI: "s3://data/",
      VOXELBURST_ARTEFACTS_URI: "s3://artefacts/",
      VOXELBURST_QUARANTINE_URI: "s3://quarantine/",
      VOXELBURST_STATE_MACHINE_ARN: stateMachineArn!,
      VOXELBURST_VERSION: "0.1.0",
      VOXELBURST_PSEUDONYM_KEY_ARN: ARN!,
      VOXELBURST_IDEMPOTENCY_TABLE: "deliveries",
      VOXELBURST_TOPIC_ARN: TopicArn!,
      VOXELBURST_LEDGER: JSON.stringify({ table: "ledger", caps }),
      VOXELBURST_INGEST: JSON.stringify({
        rung: "spot-cpu",
        queue: QUEUE_ARN,
        instanceType: "r6id.4xlarge",
        childrenPerInstance: 4,
        waitSeconds: 3_600,
        attempts: 3,
        attemptSeconds: 43_200,
      }),
    },
  };
}

/** Uploads a dataset of one case, dataset.json last. @returns the event of that last upload */
export async function dropDataset({ s3 }: TriggerAccount, name: string, label = "label", sequencer = name) {
  const put = (key: string, Body: string) =>
    s3.send(new PutObjectCommand({ Bucket: "data", Key: `datasets/${name}/${key}`, Body }));
  await put("imagesTr/a.nii.gz", `image of ${name}`);
  await put("labelsTr/a.nii.gz", label);
  await put(
    "dataset.json",
    JSON.stringify({
      modality: { "0": "CT" },
      labels: { "0": "background", "1": "organ" },
      training: [{ image: "imagesTr/a.nii.gz", label: "labelsTr/a.nii.gz", patient: "Mustermann" }],
    }),
  );
  return uploadEvent(name, sequencer);
}

/** Bytes as a multipart upload of one part: another ETag, and the same checksum of the whole object. @returns the ETag */
export async function putInParts({ s3 }: TriggerAccount, at: { Bucket: string; Key: string }, Body: Uint8Array) {
  const whole = { ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" } as const;
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ ...at, ...whole }));
  const part = { ...at, UploadId, PartNumber: 1, Body, ChecksumAlgorithm: whole.ChecksumAlgorithm };
  const { ETag, ChecksumCRC32 } = await s3.send(new UploadPartCommand(part));
  const { ETag: ofAll } = await s3.send(
    new CompleteMultipartUploadCommand({
      ...at,
      UploadId,
      ChecksumType: whole.ChecksumType,
      MultipartUpload: { Parts: [{ PartNumber: 1, ETag, ChecksumCRC32 }] },
    }),
  );
  return ofAll;
}

/** EventBridge's event of S3, as far as it is read; https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
export const uploadEvent = (name: string, sequencer: string) => ({
  version: "0",
  id: `event-${name}-${sequencer}`,
  "detail-type": "Object Created",
  source: "aws.s3",
  account: "123456789012",
  region: "us-east-1",
  detail: {
    version: "0",
    bucket: { name: "data" },
    object: { key: `datasets/${name}/dataset.json`, size: 1, etag: "e", sequencer },
    reason: "PutObject",
  },
});
