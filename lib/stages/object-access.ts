// Least access to a bucket: which prefixes a role may read and write, and nothing else.
import type * as iam from "aws-cdk-lib/aws-iam";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import type * as s3 from "aws-cdk-lib/aws-s3";
import { acknowledgeWildcards } from "../cloud/acknowledge.ts";

export interface ObjectAccess {
  /** Key patterns, for example "runs/*".
   * @default - none */
  readonly read?: string[];
  /** @default - none */
  readonly write?: string[];
  /** Whether large objects are uploaded in parts, and a broken upload is ended.
   * @default true */
  readonly multipart?: boolean;
}

/**
 * Who may read may list the bucket too, as a whole: S3 answers 403 instead of 404 for an object that does not exist
 * unless the caller may, and a condition on the prefix never holds for that. Stages ask whether an output exists.
 */
export function allowObjects(role: iam.IGrantable, bucket: s3.IBucket, access: ObjectAccess): void {
  const allow = (actions: string[], resources: string[]) =>
    role.grantPrincipal.addToPrincipalPolicy(new PolicyStatement({ actions, resources }));
  const { read = [], write = [], multipart = true } = access;
  if (read.length > 0) {
    allow(
      ["s3:GetObject"],
      read.map((pattern) => bucket.arnForObjects(pattern)),
    );
    allow(["s3:ListBucket"], [bucket.bucketArn]);
  }
  if (write.length > 0)
    allow(
      ["s3:PutObject", ...(multipart ? ["s3:AbortMultipartUpload"] : [])],
      write.map((pattern) => bucket.arnForObjects(pattern)),
    );
  // A multipart upload decrypts its own parts, so that a writer needs both.
  if (bucket.encryptionKey)
    allow(write.length > 0 ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"], [bucket.encryptionKey.keyArn]);
  acknowledgeWildcards(
    role.grantPrincipal as iam.Role,
    [...read, ...write].map((pattern) => [bucket.arnForObjects(pattern), WHY_A_PREFIX]),
  );
}

const WHY_A_PREFIX = "a prefix of keys: runs, datasets and hashes get their names after the deployment";
