// Names that a deployment and whoever looks at it later agree on: of the stacks, and of the outputs of the workflow's.

/** In the order of their deployment. */
export const STACKS = {
  storage: "VoxelburstStorage",
  network: "VoxelburstNetwork",
  image: "VoxelburstImage",
  fleet: "VoxelburstFleet",
  workflow: "VoxelburstWorkflow",
} as const;

/** Output keys of the workflow's stack. */
export const OUTPUTS = {
  stateMachineArn: "StateMachineArn",
  dataBucket: "DataBucket",
  artefactsBucket: "ArtefactsBucket",
  quarantineBucket: "QuarantineBucket",
  ledgerTable: "LedgerTable",
  jobLogGroup: "JobLogGroup",
  dashboard: "DashboardName",
  version: "Version",
} as const;

export type OutputName = keyof typeof OUTPUTS;
