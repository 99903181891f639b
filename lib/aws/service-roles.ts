// Roles that AWS's services make for themselves, and that an account which never used them lacks.
import { GetRoleCommand, IAMClient, NoSuchEntityException } from "@aws-sdk/client-iam";
import { type Check, ok, warn } from "./check.ts";

const SPOT_ROLE = "AWSServiceRoleForEC2Spot";

/**
 * Every deployment has Spot environments: ingest's CPUs are one. EC2's page "Service-linked role for Spot Instance
 * requests" wants the role to be there before an API asks for Spot; its console makes it, Batch's guide ("Amazon EC2 spot
 * fleet role") has people make it. BatchServiceRolePolicy lets Batch make it too, which nobody has seen: hence a warning.
 * Batch's own AWSServiceRoleForBatch comes with the first compute environment.
 */
export async function spotRoleChecks(client: IAMClient = new IAMClient({})): Promise<Check[]> {
  try {
    await client.send(new GetRoleCommand({ RoleName: SPOT_ROLE }));
    return [ok("Spot role", SPOT_ROLE)];
  } catch (error) {
    if (!(error instanceof NoSuchEntityException)) throw error;
    return [
      warn(
        "Spot role",
        `the account has no ${SPOT_ROLE}`,
        "Once an account: `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`. Without it Spot instances may not start.",
      ),
    ];
  }
}
