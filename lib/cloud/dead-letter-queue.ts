// Where an event or a night waits for a person that could not be delivered, or was failed on.
import { Duration } from "aws-cdk-lib";
import * as sqs from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { acknowledge } from "./acknowledge.ts";

/**
 * Encrypted by SQS itself: with a key of KMS every producer would need rights on it, and a letter of one that lacks them
 * is lost without a word. What is in it names objects and datasets.
 */
export function deadLetterQueue(scope: Construct, id: string): sqs.Queue {
  const queue = new sqs.Queue(scope, id, {
    encryption: sqs.QueueEncryption.SQS_MANAGED,
    enforceSSL: true,
    retentionPeriod: Duration.days(14),
  });
  acknowledge(queue, { "AwsSolutions-SQS3": "it is a dead-letter queue itself" });
  return queue;
}
