// How long and how often things may run. Batch's and SageMaker's own limits stop a job; the TimeoutSeconds of a state is
// only the backstop behind them, since a state that times out does not stop its job.

/** Attempts of a Batch job: two reclaimed hosts are bad luck, three are a shortage that the next run should wait out. */
export const JOB_ATTEMPTS = 3;

/** A job that has no instance after an hour is cancelled: the run fails with that reason instead of hanging. */
export const CAPACITY_WAIT_SECONDS = 3_600;

/**
 * One attempt of a Batch job. An array child works on its share of the cases; redone work is skipped, so what matters is
 * that the limit is far above a share (hundreds of cases at seconds to minutes each) and still ends what hangs.
 * A compile job builds one engine (1.7 minutes measured for TensorRT on an H100) and runs the validation cases twice.
 */
export const ATTEMPT_SECONDS = { ingest: 43_200, preprocess: 43_200, compile: 14_400, infer: 43_200 };

/** Every attempt may wait for its instance and then use its whole time. */
export const jobStateSeconds = (attemptSeconds: number): number =>
  JOB_ATTEMPTS * (CAPACITY_WAIT_SECONDS + attemptSeconds);

/**
 * What a training job may take beyond its own limit: SageMaker starts instances and pulls the image before the clock of
 * MaxRuntimeInSeconds runs, and uploads the model after it.
 */
export const TRAINING_OVERHEAD_SECONDS = 3_600;

/** plan reads one record a case; report draws every plot. Lambda allows at most 900. */
export const FUNCTION_SECONDS = { plan: 300, report: 600, startRun: 120 };

/** A function's own timeout comes first; a minute more covers the call. */
export const functionStateSeconds = (functionSeconds: number): number => functionSeconds + 60;
