// What the parser refuses, in the form that every error has: a code, a sentence, what to do.
import type { CommanderError } from "commander";
import { VoxelburstError } from "../contracts/index.ts";

/** @param command - the words that lead to the command whose help says more */
export function usageError(error: CommanderError, command: string): VoxelburstError {
  const help = `\`${command} --help\` says what there is.`;
  if (error.code === "commander.help")
    return new VoxelburstError("UsageInvalid", "No command was given.", help, { cause: error });
  // "error: unknown option '--nope'", and on a second line "(Did you mean --node?)".
  const [first = "", hint = ""] = error.message.replace(/^error: /, "").split("\n");
  const sentence = `${first.charAt(0).toUpperCase()}${first.slice(1).replace(/\.$/, "")}.`;
  const remedy = [hint.replace(/^\((.*)\)$/, "$1"), help].filter((part) => part !== "").join(" ");
  return new VoxelburstError("UsageInvalid", sentence, remedy, { cause: error });
}
