// With which key EBS encrypts the instances' volumes: launch templates ask for encryption and name no key (fleet.ts).
import { EC2Client, GetEbsDefaultKmsKeyIdCommand } from "@aws-sdk/client-ec2";
import { type Check, ok, warn } from "./check.ts";

const OPERATIONS =
  "Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey GenerateDataKeyWithoutPlaintext DescribeKey CreateGrant";

/**
 * Batch starts instances through Auto Scaling groups, whose service-linked role may use AWS's own key and no customer's
 * (AWS's page "Required AWS KMS key policy for use with encrypted volumes", which has the command). That
 * Spot's role needs the same where it starts them was not found in the search. Whether a grant is there is not asked.
 * @param account - twelve digits
 */
export async function volumeKeyChecks(account: string, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const { KmsKeyId: key = "" } = await client.send(new GetEbsDefaultKmsKeyIdCommand({}));
  const name = "key of EBS volumes";
  if (/(^|:)alias\/aws\/ebs$/.test(key)) return [ok(name, "AWS's own")];
  const role = `arn:aws:iam::${account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling`;
  return [
    warn(
      name,
      `${key}, the account's default: not AWS's own`,
      `Unless its policy lets them: \`aws kms create-grant --key-id ${key} --grantee-principal ${role} --operations ${OPERATIONS}\`, and the same for the role \`aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot\`. Without, instances end as they start.`,
    ),
  ];
}
