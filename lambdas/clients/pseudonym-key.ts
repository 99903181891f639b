// The key that patients are hashed with, from Secrets Manager: in no bucket, no template and no environment.
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { VoxelburstError } from "../../lib/contracts/error.ts";

/** @returns a function that reads the secret when it is first asked, and again only after a failure */
export function pseudonymKeyOf(secretArn: string, client = new SecretsManagerClient({})): () => Promise<Uint8Array> {
  let known: Promise<Uint8Array> | undefined;
  const read = async () => {
    const { SecretString } = await client.send(new GetSecretValueCommand({ SecretId: secretArn }));
    if (SecretString) return new TextEncoder().encode(SecretString);
    throw new VoxelburstError(
      "PseudonymKeyMissing",
      "The secret with the key that hides patients' names is empty.",
      "Restore it from a backup; with another key a patient's cases would go into other folds.",
    );
  };
  return () => {
    known ??= read().catch((error: unknown) => {
      known = undefined;
      throw error;
    });
    return known;
  };
}
