// What AWS Batch writes into a job's status reason, as far as anything depends on it.

/**
 * In the reason of a job that a queue's jobStateTimeLimitActions cancelled after it had waited its time: "Canceled by
 * JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", or one of MISCONFIGURATION:, when the
 * queue cannot hold the job. AWS Batch's user guide, "Jobs stuck in a RUNNABLE status".
 */
export const WAITED_IN_VAIN = "JobStateTimeLimit";
