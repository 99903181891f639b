// A Lambda function from lambdas/<verb>/handler.ts, bundled by esbuild.
import { Duration, RemovalPolicy } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { NodejsFunction, OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import * as logs from "aws-cdk-lib/aws-logs";
import type * as sqs from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { acknowledge } from "./acknowledge.ts";
import { BUNDLE, type LambdaVerb, lambdaEntry } from "./lambda-bundle.ts";

export interface BundledFunctionProps {
  /** The folder below lambdas/. */
  readonly verb: LambdaVerb;
  readonly description: string;
  readonly timeoutSeconds: number;
  readonly memoryMiB: number;
  /** @default - none */
  readonly environment?: Record<string, string>;
  /** Where an asynchronous call goes that failed three times.
   * @default - none: the caller waits for the answer */
  readonly deadLetterQueue?: sqs.IQueue;
  /** Why there is no such queue.
   * @default - "its caller waits for the answer and handles the failure" */
  readonly whyNoDeadLetters?: string;
  /** @default - Lambda's own key */
  readonly environmentEncryption?: kms.IKey;
}

export class BundledFunction extends NodejsFunction {
  constructor(scope: Construct, id: string, props: BundledFunctionProps) {
    const logGroup = new logs.LogGroup(scope, `${id}Logs`, {
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // Without a role of its own, CDK attaches AWSLambdaBasicExecutionRole, which may write to every log group.
    const role = new iam.Role(scope, `${id}Role`, {
      assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com"),
      description: `What ${props.verb} may do`,
    });
    logGroup.grantWrite(role);
    super(scope, id, {
      role,
      logGroup,
      entry: lambdaEntry(props.verb),
      projectRoot: BUNDLE.root,
      depsLockFilePath: `${BUNDLE.root}package-lock.json`,
      handler: "handler",
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      description: props.description,
      timeout: Duration.seconds(props.timeoutSeconds),
      memorySize: props.memoryMiB,
      environment: { POWERTOOLS_SERVICE_NAME: props.verb, NODE_OPTIONS: "--enable-source-maps", ...props.environment },
      ...(props.deadLetterQueue ? { deadLetterQueue: props.deadLetterQueue } : {}),
      ...(props.environmentEncryption ? { environmentEncryption: props.environmentEncryption } : {}),
      loggingFormat: lambda.LoggingFormat.JSON,
      bundling: {
        format: OutputFormat.ESM,
        target: BUNDLE.target,
        minify: true,
        sourceMap: true,
        sourcesContent: false,
        // The versions of package-lock.json, not those that the runtime happens to have.
        bundleAwsSDK: true,
        mainFields: BUNDLE.mainFields,
        banner: BUNDLE.banner,
      },
    });
    acknowledge(this, {
      "HIPAA.Security-LambdaConcurrency":
        "a reservation is taken from the account's limit, of 10 in a new account, and refuses to deploy there",
      "HIPAA.Security-LambdaInsideVPC":
        "it calls AWS's APIs alone; inside the VPC each of them would need an endpoint that bills by the hour",
    });
    if (!props.deadLetterQueue)
      acknowledge(this, {
        "HIPAA.Security-LambdaDLQ": props.whyNoDeadLetters ?? "its caller waits for the answer and handles the failure",
      });
  }
}
