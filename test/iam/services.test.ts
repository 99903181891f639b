// Roles that AWS's services alone work with, held to what the services' pages say.
import { checkRoles } from "./checks.ts";

checkRoles(
  () => undefined,
  /ExecutionRole|^WorkflowStateMachineRole|^InferTransformRole|^TrainClusterExecution|^Nightly\w*Role|^Image|^CustomVpc/,
);
