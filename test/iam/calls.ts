// A request on the wire as IAM sees it: whose it is, which actions it is, on what.
// Actions and resources: the Service Authorization Reference's page of each service.
import type { Seen } from "../aws/gate.ts";
import type { Call } from "./evaluate.ts";
import { arnOf, KEY_ARN } from "./roles.ts";

/** The access key, which is a role's name here, and the service that it was signed for. */
export function signerOf({ headers }: Seen): { who: string; service: string } {
  const scope = /Credential=([^/]+)\/\d+\/[^/]+\/([^/]+)\//.exec(headers.authorization ?? "");
  return { who: scope?.[1] ?? "nobody", service: scope?.[2] ?? "none" };
}

/** Buckets, secret, tables and topic are encrypted with the data key, which the services use in the caller's name. */
const decrypt: Call = { action: "kms:Decrypt", resource: KEY_ARN };
const encrypt: Call = { action: "kms:GenerateDataKey", resource: KEY_ARN };

/** @param status - of the answer, where it is known: S3 tells 404 only to those who may list */
export function callsOf(seen: Seen, status?: number): Call[] {
  const { service } = signerOf(seen);
  const action = String(seen.headers["x-amz-target"] ?? "")
    .split(".")
    .at(-1)!;
  const json = () => JSON.parse(seen.body.toString() || "{}") as Record<string, never>;
  switch (service) {
    case "s3":
      return s3(seen, status);
    case "dynamodb":
      return [...dynamo(action, json()), decrypt];
    case "states":
      return [{ action: `states:${action}`, resource: json().stateMachineArn ?? json().executionArn! }];
    case "secretsmanager":
      return [{ action: `secretsmanager:${action}`, resource: json().SecretId! }, decrypt];
    case "sns": {
      const form = new URLSearchParams(seen.body.toString());
      return [{ action: `sns:${form.get("Action")}`, resource: form.get("TopicArn")! }, decrypt, encrypt];
    }
    case "batch":
      return [batch(seen.url, json())];
    case "sagemaker":
      return [sageMaker(action, json())];
    case "logs":
      return [
        {
          action: `logs:${action}`,
          resource: arnOf("logs", `log-group:${json().logGroupName}:log-stream:${json().logStreamName ?? ""}`),
        },
      ];
    default:
      throw new Error(`nobody knows what ${service} ${action} of ${seen.method} ${seen.url} needs`);
  }
}

function s3({ method, url, headers }: Seen, status: number | undefined): Call[] {
  const { pathname, searchParams } = new URL(url, "http://s3");
  const [, bucket, key] = /^\/([^/]+)\/?(.*)$/s.exec(decodeURIComponent(pathname)) ?? [];
  const bucketArn = `arn:aws:s3:::${bucket}`;
  const list: Call = { action: "s3:ListBucket", resource: bucketArn };
  if (!key) {
    if ((method === "GET" && searchParams.has("list-type")) || method === "HEAD") return [list];
    throw new Error(`nobody knows what ${method} ${url} needs`);
  }
  const call = (action: string): Call => ({ action, resource: `${bucketArn}/${key}` });
  if (headers["x-amz-copy-source"]) throw new Error("nobody knows what a copy needs");
  const isMultipart = searchParams.has("uploadId") || searchParams.has("uploads");
  if (method === "GET" || method === "HEAD")
    return status === 404 ? [call("s3:GetObject"), list] : [call("s3:GetObject"), decrypt];
  // A multipart upload decrypts its own parts.
  if (method === "PUT" || method === "POST") return [call("s3:PutObject"), encrypt, ...(isMultipart ? [decrypt] : [])];
  if (method === "DELETE") return [call(isMultipart ? "s3:AbortMultipartUpload" : "s3:DeleteObject")];
  throw new Error(`nobody knows what ${method} ${url} needs`);
}

/** A transaction needs what its parts need. */
function dynamo(
  action: string,
  body: { TableName?: string; TransactItems?: object[]; ExpressionAttributeValues?: Record<string, { S: string }> },
): Call[] {
  const on = (name: string, table: string): Call => ({
    action: `dynamodb:${name}`,
    resource: arnOf("dynamodb", `table/${table}`),
  });
  if (action === "Query") {
    const leading = body.ExpressionAttributeValues?.[":pk"]?.S;
    if (leading === undefined) throw new Error("nobody knows which leading key that query has");
    return [{ ...on(action, body.TableName!), context: { "dynamodb:LeadingKeys": leading } }];
  }
  if (action !== "TransactWriteItems") return [on(action, body.TableName!)];
  return (body.TransactItems ?? []).map((item) => {
    const [[kind, { TableName }]] = Object.entries(item) as [[string, { TableName: string }]];
    return on(`${kind}Item`, TableName);
  });
}

function batch(url: string, body: { jobId?: string }): Call {
  const action = { listjobs: "ListJobs", describejobs: "DescribeJobs", terminatejob: "TerminateJob" }[
    url.split("/").at(-1)!
  ];
  if (!action) throw new Error(`nobody knows what ${url} needs`);
  return { action: `batch:${action}`, resource: action === "TerminateJob" ? arnOf("batch", `job/${body.jobId}`) : "*" };
}

function sageMaker(action: string, body: { TrainingJobName?: string; TransformJobName?: string }): Call {
  const { TrainingJobName, TransformJobName } = body;
  const named = TrainingJobName
    ? `training-job/${TrainingJobName}`
    : TransformJobName && `transform-job/${TransformJobName}`;
  return { action: `sagemaker:${action}`, resource: named ? arnOf("sagemaker", named) : "*" };
}
