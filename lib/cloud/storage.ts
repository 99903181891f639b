// The buckets: data (what people upload), artefacts (what the stages write), quarantine (what was refused).
import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as kms from "aws-cdk-lib/aws-kms";
import * as s3 from "aws-cdk-lib/aws-s3";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";
import { keys } from "../contracts/keys.ts";
import type { Buckets } from "../stages/stage-context.ts";
import { acknowledge } from "./acknowledge.ts";

export interface StorageProps {
  readonly deployment: Deployment;
}

export class Storage extends Construct {
  /** Of buckets, ledger, secret, queues and topic. */
  readonly key: kms.IKey;
  /** Of log groups. */
  readonly logKey: kms.IKey;
  readonly buckets: Buckets;
  /**
   * What patients are hashed with. It is outside every bucket, so that nobody who can read the artefacts can try names;
   * it stays when all else goes, because another one would put a patient's cases into other folds.
   */
  readonly pseudonymKey: secretsmanager.Secret;
  /** S3 and VPC deliver their logs here; with S3's own keys, since they deliver to no other. */
  readonly accessLogs: s3.Bucket;
  private readonly deployment: Deployment;

  constructor(scope: Construct, id: string, { deployment }: StorageProps) {
    super(scope, id);
    this.deployment = deployment;
    const { dataKeyArn, logKeyArn } = deployment.keys;
    this.key = dataKeyArn ? kms.Key.fromKeyArn(this, "Key", dataKeyArn) : this.createDataKey();
    this.logKey = logKeyArn ? kms.Key.fromKeyArn(this, "LogKey", logKeyArn) : this.createLogKey();
    this.accessLogs = new s3.Bucket(this, "AccessLogs", {
      ...this.common(),
      encryption: s3.BucketEncryption.S3_MANAGED,
      lifecycleRules: [
        {
          id: "ExpireLogs",
          expiration: Duration.days(deployment.retention.accessLogDays),
          noncurrentVersionExpiration: Duration.days(1),
          ...abortUploads,
        },
      ],
    });
    acknowledge(this.accessLogs, {
      "HIPAA.Security-S3DefaultEncryptionKMS": "S3 delivers access logs to buckets with S3's own keys alone",
      "HIPAA.Security-S3BucketReplicationEnabled": ONE_REGION,
    });
    this.buckets = {
      data: this.addBucket("Data"),
      artefacts: this.addBucket("Artefacts", this.expireOutputs()),
      quarantine: this.addBucket("Quarantine"),
    };
    this.sendEvents(this.buckets.data);
    this.pseudonymKey = new secretsmanager.Secret(this, "PseudonymKey", {
      description: "voxelburst: what patients are hashed with",
      encryptionKey: this.key,
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      removalPolicy: this.removalPolicy,
    });
    const reason = "another key would give every patient another pseudonym, and put cases of one into several folds";
    acknowledge(this.pseudonymKey, {
      "AwsSolutions-SMG4": reason,
      "HIPAA.Security-SecretsManagerRotationEnabled": reason,
    });
  }

  private get removalPolicy(): RemovalPolicy {
    return this.deployment.removalPolicy === "retain" ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY;
  }

  /** The services that publish to the encrypted topic use the key themselves, for this account's sake alone. */
  private createDataKey(): kms.Key {
    const key = new kms.Key(this, "Key", {
      description: "voxelburst: datasets, artefacts, quarantine, ledger, messages",
      enableKeyRotation: true,
      removalPolicy: this.removalPolicy,
    });
    key.addToResourcePolicy(
      new iam.PolicyStatement({
        sid: "Notices",
        principals: NOTIFYING_SERVICES.map((service) => new iam.ServicePrincipal(service)),
        actions: ["kms:Decrypt", "kms:GenerateDataKey"],
        resources: ["*"], // in a key's policy: this key
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
    );
    return key;
  }

  /** CloudWatch Logs, for log groups of this account: its page "Encrypt log data using AWS KMS". */
  private createLogKey(): kms.Key {
    const { partition, region, account } = Stack.of(this);
    const key = new kms.Key(this, "LogKey", {
      description: "voxelburst: log groups",
      enableKeyRotation: true,
      removalPolicy: this.removalPolicy,
    });
    key.addToResourcePolicy(
      new iam.PolicyStatement({
        sid: "CloudWatchLogs",
        principals: [new iam.ServicePrincipal(`logs.${region}.amazonaws.com`)],
        actions: [
          "kms:Encrypt",
          "kms:Decrypt",
          "kms:ReEncryptFrom",
          "kms:ReEncryptTo",
          "kms:GenerateDataKey",
          "kms:DescribeKey",
        ],
        resources: ["*"],
        conditions: {
          ArnLike: { "kms:EncryptionContext:aws:logs:arn": `arn:${partition}:logs:${region}:${account}:log-group:*` },
        },
      }),
    );
    return key;
  }

  private addBucket(id: string, rules: s3.LifecycleRule[] = []): s3.Bucket {
    const bucket = new s3.Bucket(this, id, {
      ...this.common(),
      encryption: s3.BucketEncryption.KMS,
      encryptionKey: this.key,
      bucketKeyEnabled: true,
      serverAccessLogsBucket: this.accessLogs,
      serverAccessLogsPrefix: `${id.toLowerCase()}/`,
      lifecycleRules: [
        {
          id: "EndBrokenUploads",
          ...abortUploads,
          noncurrentVersionExpiration: Duration.days(this.deployment.retention.noncurrentDays),
        },
        ...rules,
      ],
    });
    acknowledge(bucket, { "HIPAA.Security-S3BucketReplicationEnabled": ONE_REGION });
    return bucket;
  }

  /**
   * What later runs could reuse and can make again. A stage writes the document that completes an output last, so that
   * it expires last too. Trained models, engines and what belongs to a run stay.
   */
  private expireOutputs(): s3.LifecycleRule[] {
    return (["ingest", "preprocess", "infer"] as const).map((stage) => ({
      id: `Expire-${stage}`,
      prefix: keys.outputs(stage),
      expiration: Duration.days(this.deployment.retention.outputDays),
    }));
  }

  private common() {
    return {
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      versioned: true,
      removalPolicy: this.removalPolicy,
    };
  }

  /** CDK's own `eventBridgeEnabled` deploys a function that may change the notifications of every bucket. */
  private sendEvents(bucket: s3.IBucket): void {
    (bucket.node.defaultChild as s3.CfnBucket).notificationConfiguration = {
      eventBridgeConfiguration: { eventBridgeEnabled: true },
    };
  }
}

/** Whose messages go to the encrypted topic: alarms, budgets, anomalies of cost. */
const NOTIFYING_SERVICES = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"];

const ONE_REGION =
  "where patients' data may go is not ours to decide: it stays in the region that it was uploaded to, with every version";

const abortUploads = { abortIncompleteMultipartUploadAfter: Duration.days(7) };
