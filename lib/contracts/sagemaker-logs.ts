/** Where SageMaker's containers write, one group an account and kind of job; CloudWatch has its metrics under the same names. */
export const SAGEMAKER_LOGS = {
  training: "/aws/sagemaker/TrainingJobs",
  transform: "/aws/sagemaker/TransformJobs",
} as const;
