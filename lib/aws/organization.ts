// What the account may not do for being a member of an organization.
import {
  AWSOrganizationsNotInUseException,
  DescribeOrganizationCommand,
  OrganizationsClient,
} from "@aws-sdk/client-organizations";
import type { Deployment } from "../contracts/deployment.ts";
import { type Check, fail, ok } from "./check.ts";

/**
 * A monitor of a cost-allocation tag "can only be created in the management account" (AWS's page "Getting started with AWS
 * Cost Anomaly Detection"); an account without an organization is its own. Every account of an organization may ask.
 * @param account - the caller's, twelve digits
 */
export async function organizationChecks(
  { budgets }: Pick<Deployment, "budgets">,
  account: string,
  client: OrganizationsClient = new OrganizationsClient({}),
): Promise<Check[]> {
  const name = "anomaly monitor";
  if (!budgets.anomalyMonitor) return [ok(name, "budgets.anomalyMonitor is false: none is made")];
  try {
    const { Organization } = await client.send(new DescribeOrganizationCommand({}));
    const management = Organization?.MasterAccountId;
    return [
      management === account
        ? ok(name, `account ${account} is the management account of its organization`)
        : fail(
            name,
            `account ${account} is a member of the organization of ${management}, which alone may create it`,
            "Set `budgets.anomalyMonitor` to false: the workflow stack would be rolled back. The management account can have a monitor of the tag application=voxelburst.",
          ),
    ];
  } catch (error) {
    if (!(error instanceof AWSOrganizationsNotInUseException)) throw error;
    return [ok(name, "the account is in no organization")];
  }
}
