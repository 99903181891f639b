// A dataset.json that is uploaded starts a run: S3 -> EventBridge -> start-run -> Step Functions.
import { Duration, RemovalPolicy } from "aws-cdk-lib";
import * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as events from "aws-cdk-lib/aws-events";
import * as targets from "aws-cdk-lib/aws-events-targets";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import type * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import type * as sns from "aws-cdk-lib/aws-sns";
import type * as sqs from "aws-cdk-lib/aws-sqs";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { ATTEMPT_SECONDS, FUNCTION_SECONDS, JOB_ATTEMPTS } from "../stages/limits.ts";
import { allowObjects } from "../stages/object-access.ts";
import type { RungData } from "../stages/rung.ts";
import type { Buckets } from "../stages/stage-context.ts";
import { acknowledge, acknowledgeWildcards } from "./acknowledge.ts";
import { BundledFunction } from "./bundled-function.ts";
import { deadLetterQueue } from "./dead-letter-queue.ts";
import type { Ledger } from "./ledger.ts";

export interface IngestTriggerProps {
  readonly buckets: Buckets;
  readonly stateMachine: sfn.StateMachine;
  /** Of secret, tables and topic. */
  readonly encryptionKey: kms.IKey;
  /** What patients are hashed with. */
  readonly pseudonymKey: secretsmanager.ISecret;
  readonly ledger: Ledger;
  /** The first rung of ingest: what is held before a run starts. */
  readonly ingest: RungData;
  /** Told of a dataset or a run that is refused. */
  readonly notifications: sns.ITopic;
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
    this.undelivered = deadLetterQueue(this, "Undelivered");
    this.failed = deadLetterQueue(this, "Failed");
    const deliveries = this.renderTable(props.encryptionKey);
    this.function = new BundledFunction(this, "Function", {
      verb: "start-run",
      description: "voxelburst start-run: a dropped dataset becomes exactly one run",
      timeoutSeconds: FUNCTION_SECONDS.startRun,
      memoryMiB: 1_024,
      deadLetterQueue: this.failed,
      environment: {
        VOXELBURST_DATA_URI: `s3://${buckets.data.bucketName}/`,
        VOXELBURST_ARTEFACTS_URI: `s3://${buckets.artefacts.bucketName}/`,
        VOXELBURST_QUARANTINE_URI: `s3://${buckets.quarantine.bucketName}/`,
        VOXELBURST_STATE_MACHINE_ARN: stateMachine.stateMachineArn,
        VOXELBURST_VERSION: props.version,
        VOXELBURST_PSEUDONYM_KEY_ARN: props.pseudonymKey.secretArn,
        VOXELBURST_IDEMPOTENCY_TABLE: deliveries.tableName,
        VOXELBURST_TOPIC_ARN: props.notifications.topicArn,
        VOXELBURST_LEDGER: props.ledger.settings,
        VOXELBURST_INGEST: renderIngest(props.ingest),
      },
    });
    this.allow(props, deliveries);
    this.addRule(buckets, this.undelivered);
  }

  private allow(props: IngestTriggerProps, deliveries: dynamodb.Table): void {
    const { buckets, stateMachine, encryptionKey, notifications } = props;
    const role = this.function.role as iam.Role;
    const allow = (actions: string[], resource: string) =>
      role.addToPolicy(new iam.PolicyStatement({ actions, resources: [resource] }));
    allowObjects(role, buckets.data, { read: ["datasets/*"] });
    allowObjects(role, buckets.artefacts, { read: ["runs/*"], write: ["runs/*"], multipart: false });
    stateMachine.grantStartExecution(role);
    stateMachine.grantExecution(role, "states:DescribeExecution");
    acknowledgeWildcards(role, [[/:execution:/, "an execution gets its name after the deployment"]]);
    allow(["secretsmanager:GetSecretValue"], props.pseudonymKey.secretArn);
    // Powertools' idempotency: it puts (and is told what was there), completes and, when the function failed, deletes.
    allow(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"], deliveries.tableArn);
    props.ledger.allowHold(role);
    allow(["sns:Publish"], notifications.topicArn);
    // Decrypt for the secret and the tables, both for messages to the topic.
    allow(["kms:Decrypt", "kms:GenerateDataKey"], encryptionKey.keyArn);
  }

  /** What was answered to which delivery, for as long as it may come again. */
  private renderTable(encryptionKey: kms.IKey): dynamodb.Table {
    const table = new dynamodb.Table(this, "Deliveries", {
      partitionKey: { name: "id", type: dynamodb.AttributeType.STRING },
      timeToLiveAttribute: "expiration",
      billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
      encryption: dynamodb.TableEncryption.CUSTOMER_MANAGED,
      encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    acknowledge(table, {
      "AwsSolutions-DDB3": "nothing in it matters for longer than a day",
      "HIPAA.Security-DynamoDBPITREnabled": "nothing in it matters for longer than a day",
      "HIPAA.Security-DynamoDBInBackupPlan": "nothing in it matters for longer than a day",
    });
    return table;
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
}

/** VOXELBURST_INGEST, as lambdas/clients/ingest-hold.ts reads it. */
const renderIngest = ({ name, queue, instanceType, childrenPerInstance, waitSeconds }: RungData): string =>
  JSON.stringify({
    rung: name,
    queue,
    instanceType,
    childrenPerInstance,
    waitSeconds,
    attempts: JOB_ATTEMPTS,
    attemptSeconds: ATTEMPT_SECONDS.ingest,
  });
