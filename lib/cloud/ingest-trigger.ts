// A dataset.json that is uploaded starts a run: S3 -> EventBridge -> start-run -> Step Functions.
import { Duration } from "aws-cdk-lib";
import * as events from "aws-cdk-lib/aws-events";
import * as targets from "aws-cdk-lib/aws-events-targets";
import type * as kms from "aws-cdk-lib/aws-kms";
import type * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import * as sqs from "aws-cdk-lib/aws-sqs";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { FUNCTION_SECONDS } from "../stages/limits.ts";
import { allowObjects } from "../stages/object-access.ts";
import type { Buckets } from "../stages/stage-context.ts";
import { BundledFunction } from "./bundled-function.ts";

export interface IngestTriggerProps {
  readonly buckets: Buckets;
  readonly stateMachine: sfn.StateMachine;
  readonly encryptionKey: kms.IKey;
  /** What patients are hashed with. */
  readonly pseudonymKey: secretsmanager.ISecret;
  /** Software version: part of every hash. */
  readonly version: string;
}

/** S3 delivers an event at least once; a dataset that still fails after a day is looked at by a person. */
const EVENT_MAX_AGE = Duration.hours(24);

export class IngestTrigger extends Construct {
  readonly function: BundledFunction;
  /** Events that never reached the function. */
  readonly undelivered: sqs.Queue;
  /** Events that the function failed on three times. */
  readonly failed: sqs.Queue;

  constructor(scope: Construct, id: string, props: IngestTriggerProps) {
    super(scope, id);
    const { buckets, stateMachine } = props;
    this.undelivered = this.addQueue("Undelivered");
    this.failed = this.addQueue("Failed");
    this.function = new BundledFunction(this, "Function", {
      verb: "start-run",
      description: "voxelburst start-run: a dropped dataset becomes exactly one run",
      timeoutSeconds: FUNCTION_SECONDS.startRun,
      memoryMiB: 1_024,
      deadLetterQueue: this.failed,
      environmentEncryption: props.encryptionKey,
      environment: {
        VOXELBURST_DATA_URI: `s3://${buckets.data.bucketName}/`,
        VOXELBURST_ARTEFACTS_URI: `s3://${buckets.artefacts.bucketName}/`,
        VOXELBURST_QUARANTINE_URI: `s3://${buckets.quarantine.bucketName}/`,
        VOXELBURST_STATE_MACHINE_ARN: stateMachine.stateMachineArn,
        VOXELBURST_VERSION: props.version,
        // Resolved when it is deployed; the environment is encrypted, and readable with our key alone.
        VOXELBURST_PSEUDONYM_KEY: props.pseudonymKey.secretValue.unsafeUnwrap(),
      },
    });
    allowObjects(this.function, buckets.data, { read: ["datasets/*"] });
    allowObjects(this.function, buckets.artefacts, { read: ["runs/*"], write: ["runs/*"] });
    stateMachine.grantStartExecution(this.function);
    stateMachine.grantExecution(this.function, "states:DescribeExecution", "states:RedriveExecution");
    this.addRule(buckets, this.undelivered);
  }

  private addRule(buckets: Buckets, undelivered: sqs.IQueue): void {
    new events.Rule(this, "Rule", {
      description: "datasets/<name>/dataset.json was uploaded, which is done last",
      eventPattern: {
        source: ["aws.s3"],
        detailType: ["Object Created"],
        detail: {
          bucket: { name: [buckets.data.bucketName] },
          // One wildcard: a prefix and a suffix matcher in one list would be ORed.
          object: { key: events.Match.wildcard("datasets/*/dataset.json") },
        },
      },
      targets: [
        new targets.LambdaFunction(this.function, { deadLetterQueue: undelivered, maxEventAge: EVENT_MAX_AGE }),
      ],
    });
  }

  private addQueue(id: string): sqs.Queue {
    return new sqs.Queue(this, id, {
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
  }
}
