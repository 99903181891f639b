// Least access to a bucket: which prefixes a role may read and write, and nothing else.
import type * as iam from "aws-cdk-lib/aws-iam";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import type * as s3 from "aws-cdk-lib/aws-s3";

export interface ObjectAccess {
  /** Key patterns, for example "runs/*".
   * @default - none */
  readonly read?: string[];
  /** @default - none */
  readonly write?: string[];
  /**
   * Prefixes that may be listed.
   * @default - the whole bucket. S3 answers 403 instead of 404 for an object that does not exist unless the caller may
   * list the bucket, and a condition on the prefix never holds for that: a stage could not tell "absent" from "denied".
   */
  readonly list?: string[];
}

export function allowObjects(role: iam.IGrantable, bucket: s3.IBucket, access: ObjectAccess): void {
  const allow = (actions: string[], resources: string[], conditions?: object) =>
    role.grantPrincipal.addToPrincipalPolicy(
      new PolicyStatement({ actions, resources, ...(conditions ? { conditions } : {}) }),
    );
  const objects = (patterns: string[]) => patterns.map((pattern) => bucket.arnForObjects(pattern));
  const { read = [], write = [], list } = access;
  if (read.length > 0) allow(["s3:GetObject"], objects(read));
  if (write.length > 0) allow(["s3:PutObject", "s3:AbortMultipartUpload"], objects(write));
  if (read.length > 0) allow(["s3:ListBucket"], [bucket.bucketArn], list && { StringLike: { "s3:prefix": list } });
  if (bucket.encryptionKey) {
    // A multipart upload decrypts its own parts, so that a writer needs both.
    const actions = write.length > 0 ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"];
    allow(actions, [bucket.encryptionKey.keyArn]);
  }
}
