// SubmitJob's request, as far as a mistake in it would break the state machine on AWS too.
import * as z from "zod";

const retryStrategy = z.looseObject({
  Attempts: z.int().min(1).max(10).optional(),
  EvaluateOnExit: z
    .array(
      z.looseObject({
        OnStatusReason: z.string().optional(),
        OnReason: z.string().optional(),
        OnExitCode: z.string().optional(),
        Action: z.string().regex(/^(RETRY|EXIT)$/i),
      }),
    )
    .max(5)
    .optional(),
});
const override = z.looseObject({
  Command: z.array(z.string()).min(1),
  Environment: z.array(z.looseObject({ Name: z.string(), Value: z.string() })).default([]),
});
/** Of a definition with EcsProperties: the container is named. */
const ecsOverride = z.looseObject({
  TaskProperties: z
    .array(z.looseObject({ Containers: z.array(override.extend({ Name: z.string().min(1) })).length(1) }))
    .length(1),
});
const nodeOverrides = z.looseObject({
  NumNodes: z.int().min(1).max(1_000),
  NodePropertyOverrides: z
    .array(
      z.looseObject({
        // The range of our definitions, which is open above.
        TargetNodes: z.literal("0:"),
        ContainerOverrides: override.optional(),
        EcsPropertiesOverride: ecsOverride.optional(),
      }),
    )
    .length(1),
});

export const submissionOf = z
  .looseObject({
    JobName: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/),
    JobDefinition: z.string().min(1),
    JobQueue: z.string().min(1),
    ArrayProperties: z.looseObject({ Size: z.int().min(2).max(10_000).optional() }).optional(),
    ContainerOverrides: override.optional(),
    EcsPropertiesOverride: ecsOverride.optional(),
    NodeOverrides: nodeOverrides.optional(),
    RetryStrategy: retryStrategy.optional(),
    Timeout: z.looseObject({ AttemptDurationSeconds: z.int().min(60).optional() }).optional(),
  })
  .refine((job) => !(job.NodeOverrides && job.ArrayProperties?.Size !== undefined), {
    path: ["ArrayProperties"],
    message: "a multi-node job is no array",
  });

export type Submission = z.infer<typeof submissionOf>;
export type RetryStrategy = z.infer<typeof retryStrategy>;

/** The one container of a job. */
export interface Container {
  name: string;
  command: string[];
  environment: { Name: string; Value: string }[];
  /** Whether the definition has EcsProperties, in whose form the job is then described. */
  isEcs: boolean;
  /** Of a multi-node job. */
  nodes?: number;
}

/** undefined when the submission overrides no command: our definitions have none of their own. */
export function containerOf(submission: Submission): Container | undefined {
  const { NodeOverrides } = submission;
  const place = NodeOverrides?.NodePropertyOverrides[0] ?? submission;
  const ecs = place.EcsPropertiesOverride?.TaskProperties[0]?.Containers[0];
  const given = ecs ?? place.ContainerOverrides;
  if (!given) return undefined;
  return {
    name: ecs?.Name ?? "default",
    command: given.Command,
    environment: given.Environment.map(({ Name, Value }) => ({ Name, Value })),
    isEcs: ecs !== undefined,
    ...(NodeOverrides ? { nodes: NodeOverrides.NumNodes } : {}),
  };
}
