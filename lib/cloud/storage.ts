// The buckets: data (what people upload), artefacts (what the stages write), quarantine (what was refused).
import { Duration, RemovalPolicy } from "aws-cdk-lib";
import * as kms from "aws-cdk-lib/aws-kms";
import * as s3 from "aws-cdk-lib/aws-s3";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import type { Buckets } from "../stages/stage-context.ts";

export class Storage extends Construct {
  readonly key: kms.Key;
  readonly buckets: Buckets;
  /**
   * What patients are hashed with. It is outside every bucket, so that nobody who can read the artefacts can try names;
   * it stays when all else goes, because another one would put a patient's cases into other folds.
   */
  readonly pseudonymKey: secretsmanager.Secret;
  private readonly accessLogs: s3.Bucket;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.key = new kms.Key(this, "Key", {
      description: "voxelburst: datasets, artefacts and quarantine",
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    this.accessLogs = new s3.Bucket(this, "AccessLogs", {
      ...this.common(),
      // S3 delivers access logs to buckets with its own keys only.
      encryption: s3.BucketEncryption.S3_MANAGED,
      lifecycleRules: [{ id: "ExpireLogs", expiration: Duration.days(365), ...abortUploads }],
    });
    this.buckets = {
      data: this.addBucket("Data"),
      artefacts: this.addBucket("Artefacts"),
      quarantine: this.addBucket("Quarantine"),
    };
    this.sendEvents(this.buckets.data);
    this.pseudonymKey = new secretsmanager.Secret(this, "PseudonymKey", {
      description: "voxelburst: what patients are hashed with",
      encryptionKey: this.key,
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      removalPolicy: RemovalPolicy.RETAIN,
    });
  }

  private addBucket(id: string): s3.Bucket {
    return new s3.Bucket(this, id, {
      ...this.common(),
      encryption: s3.BucketEncryption.KMS,
      encryptionKey: this.key,
      bucketKeyEnabled: true,
      serverAccessLogsBucket: this.accessLogs,
      serverAccessLogsPrefix: `${id.toLowerCase()}/`,
      lifecycleRules: [{ id: "EndBrokenUploads", ...abortUploads, noncurrentVersionExpiration: Duration.days(90) }],
    });
  }

  private common() {
    return {
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      versioned: true,
      removalPolicy: RemovalPolicy.RETAIN,
    };
  }

  /** CDK's own `eventBridgeEnabled` deploys a function that may change the notifications of every bucket. */
  private sendEvents(bucket: s3.IBucket): void {
    (bucket.node.defaultChild as s3.CfnBucket).notificationConfiguration = {
      eventBridgeConfiguration: { eventBridgeEnabled: true },
    };
  }
}

const abortUploads = { abortIncompleteMultipartUploadAfter: Duration.days(7) };
