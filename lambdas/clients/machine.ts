// What GPU stages run on, as the stack tells its functions.
import type { Machine } from "../../lib/contracts/ports.ts";
import { environment } from "./environment.ts";

/** @throws VoxelburstError EnvironmentIncomplete */
export const machineFromEnvironment = (): Machine => JSON.parse(environment("VOXELBURST_MACHINE")) as Machine;
