// What AWS documents as transient: the call to the service failed, not the work. A job that failed is not retried here:
// Batch has retried it on its own, and the same input would fail again.
import { Duration } from "aws-cdk-lib";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";

/** Waits of 5, 10, 20, 40 and 60 s on average half of that (full jitter): more than a throttled minute in all. */
const transient = (errors: string[]): sfn.RetryProps => ({
  errors,
  interval: Duration.seconds(5),
  backoffRate: 2,
  maxAttempts: 5,
  maxDelay: Duration.seconds(60),
  jitterStrategy: sfn.JitterType.FULL,
});

export const batchRetry = transient([
  "Batch.AWSBatchException",
  "Batch.ServerException",
  "Batch.TooManyRequestsException",
]);
export const sageMakerRetry = transient(["SageMaker.AmazonSageMakerException", "SageMaker.ThrottlingException"]);
/** Of a call that nothing waits for: tried twice more, whatever it was. */
export const deletionRetry: sfn.RetryProps = {
  errors: ["States.TaskFailed"],
  interval: Duration.seconds(5),
  backoffRate: 2,
  maxAttempts: 2,
};
export const lambdaRetry = transient([
  "Lambda.ClientExecutionTimeoutException",
  "Lambda.ServiceException",
  "Lambda.AWSLambdaException",
  "Lambda.SdkClientException",
  "Lambda.TooManyRequestsException",
]);
