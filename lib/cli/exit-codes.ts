// What the process ends with: scripts branch on it.
import { VoxelburstError } from "../contracts/index.ts";

export const EXIT = {
  done: 0,
  usage: 1,
  runFailed: 2,
  invalidInput: 3,
  overBudget: 4,
  noCapacity: 5,
  regression: 6,
  cancelled: 130,
} as const;

const BY_CODE: Readonly<Record<string, number>> = {
  SetInvalid: EXIT.usage,
  UsageInvalid: EXIT.usage,
  RunNotFound: EXIT.usage,
  RunAmbiguous: EXIT.usage,
  ManifestExists: EXIT.usage,
  NothingToCompare: EXIT.usage,
  ModelMissing: EXIT.usage,
  DeploymentInvalid: EXIT.usage,
  NotDeployed: EXIT.usage,
  AwsCredentialsMissing: EXIT.usage,
  AwsRegionMissing: EXIT.usage,
  // The dataset, its splits, its recipe, or what they ask for together.
  DatasetMissing: EXIT.invalidInput,
  DatasetInvalid: EXIT.invalidInput,
  CaseDuplicated: EXIT.invalidInput,
  NoUsableCase: EXIT.invalidInput,
  NothingToPair: EXIT.invalidInput,
  PairingAmbiguous: EXIT.invalidInput,
  TooFewCases: EXIT.invalidInput,
  LabelsMissing: EXIT.invalidInput,
  SplitsInvalid: EXIT.invalidInput,
  SplitsUnknownCase: EXIT.invalidInput,
  SplitsOverlap: EXIT.invalidInput,
  PatientInBothParts: EXIT.invalidInput,
  FoldUnknown: EXIT.invalidInput,
  FoldEmpty: EXIT.invalidInput,
  RecipeInvalid: EXIT.invalidInput,
  RecipeMissing: EXIT.invalidInput,
  PatchInvalid: EXIT.invalidInput,
  VolumesTooSmall: EXIT.invalidInput,
  PriceUnknown: EXIT.invalidInput,
  OverBudget: EXIT.overBudget,
  OverMonthlyBudget: EXIT.overBudget,
  NoCapacity: EXIT.noCapacity,
  EngineUnavailable: EXIT.noCapacity,
  MemoryTooSmall: EXIT.noCapacity,
};

/** A run that failed for any other reason ends with 2. */
export const exitCodeOf = (code: string): number => BY_CODE[code] ?? EXIT.runFailed;

export const exitCodeOfError = (error: unknown): number =>
  error instanceof VoxelburstError ? exitCodeOf(error.code) : EXIT.runFailed;
