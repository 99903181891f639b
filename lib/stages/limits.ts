// How long and how often things may run. Batch's and SageMaker's own limits stop a job; the TimeoutSeconds of a state is
// only the backstop behind them: a state that times out does not stop its job, and what follows it has to.

/** Attempts of a Batch job: two reclaimed hosts are bad luck, three are a shortage, and the next rung is tried. */
export const JOB_ATTEMPTS = 3;

/** How long ingest's job waits for an instance; the GPU fleets' waits are the deployment's. */
export const CAPACITY_WAIT_SECONDS = 3_600;

/**
 * The most that one attempt of a Batch job may take, whatever the plan estimates: far above a child's share of the
 * cases (hundreds, at seconds to minutes each), and it still ends what hangs. The plan's own limits are lower, since
 * the ledger reserves what they allow.
 */
export const ATTEMPT_SECONDS = { ingest: 43_200, preprocess: 43_200, compile: 14_400, infer: 43_200 };

/** JSONata of an attempt's limit: the plan's, where it has one. JSONata leaves an absent one out of the list. */
export const attemptSeconds = (stage: keyof typeof ATTEMPT_SECONDS, planned: unknown): string =>
  `$min([${ATTEMPT_SECONDS[stage]}, ${planned}])`;

/**
 * JSONata of a state's backstop: every attempt may wait for its instance, start (pull the image) and use its whole time.
 */
export const jobStateSeconds = (attempt: string, rung: string): string =>
  `${JOB_ATTEMPTS} * (${attempt} + ${rung}.waitSeconds + ${START_SECONDS})`;

/** An image of 20 GB from ECR on a fresh instance takes minutes. */
export const START_SECONDS = 1_800;

/**
 * What a SageMaker job may take beyond its own limit: instances are started and the image is pulled before the clock of
 * MaxRuntimeInSeconds runs, and the model is uploaded after it.
 */
export const SAGEMAKER_OVERHEAD_SECONDS = 3_600;

/** Of InternalServerError alone; MaxRuntimeInSeconds counts all attempts together, so that it costs nothing more. */
export const TRAINING_RETRIES = 2;

/** A record is one volume: SageMaker gives up on the request after an hour at most. */
export const INVOCATION_SECONDS = 3_600;

/** plan reads one record a case; report draws every plot. Lambda allows at most 900. */
export const FUNCTION_SECONDS = { plan: 300, report: 600, startRun: 120, ledger: 60 };

/** A function's own timeout comes first; a minute more covers the call. */
export const functionStateSeconds = (functionSeconds: number): number => functionSeconds + 60;
