// What AWS answers when it refuses, as errors that a person can act on.
import { VoxelburstError } from "../contracts/index.ts";

interface SdkError extends Error {
  $metadata?: { httpStatusCode?: number };
  code?: string;
}

const DENIED =
  /^(AccessDenied(Exception)?|UnauthorizedOperation|AuthorizationError(Exception)?|UnauthorizedException)$/;
const EXPIRED =
  /^(ExpiredToken(Exception)?|RequestExpired|InvalidClientTokenId|UnrecognizedClientException|InvalidSignature(Exception)?|SignatureDoesNotMatch|AuthFailure)$/;

export const isDenied = (error: unknown): boolean => error instanceof Error && DENIED.test(error.name);

/** @returns the error with a code for what the SDK threw; anything else as it is */
export function asAwsError(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof VoxelburstError) return thrown;
  const error = thrown as SdkError;
  const said = error.message.split("\n")[0]!.slice(0, 300);
  const coded = (code: string, message: string, remedy: string) =>
    new VoxelburstError(code, message, remedy, { cause: thrown });
  if (error.name === "CredentialsProviderError" || error.name === "TokenProviderError")
    return coded(
      "AwsCredentialsMissing",
      `No AWS credentials were found: ${said}`,
      "Log in (`aws sso login`), set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    );
  if (EXPIRED.test(error.name))
    return coded("AwsCredentialsRefused", `AWS refused the credentials: ${said}`, "Log in again, or set AWS_PROFILE.");
  if (error.message === "Region is missing" || error.name === "ConfigError")
    return coded("AwsRegionMissing", "No AWS region is set.", "Set AWS_REGION, or `region` of the profile.");
  if (DENIED.test(error.name))
    return coded(
      "AwsAccessDenied",
      `AWS does not allow this identity what the command needs: ${said}`,
      "Ask for the action that the sentence names; `voxelburst doctor --on aws` shows the identity.",
    );
  const isNetwork = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ECONNRESET", "ETIMEDOUT"].includes(error.code ?? "");
  if (isNetwork || error.name === "TimeoutError")
    return coded("AwsUnreachable", `AWS cannot be reached: ${said}`, "Check the network, the region and any proxy.");
  if (error.$metadata !== undefined)
    return coded(
      "AwsRefused",
      `AWS refused a call: ${error.name}: ${said}`,
      "If it happens again, run the command with --debug and look the error's name up in AWS's documentation.",
    );
  return thrown;
}
