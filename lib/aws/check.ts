// One line of `doctor --on aws`: what was asked, what was found, what to do where it is not good.
import { isDenied } from "./errors.ts";

export interface Check {
  name: string;
  state: "ok" | "warning" | "failed";
  found: string;
  remedy?: string;
}

export const ok = (name: string, found: string): Check => ({ name, state: "ok", found });
export const warn = (name: string, found: string, remedy: string): Check => ({ name, state: "warning", found, remedy });
export const fail = (name: string, found: string, remedy: string): Check => ({ name, state: "failed", found, remedy });

/** Looks; what one service does not answer is said, and no reason not to ask the others. */
export async function look(name: string, checks: () => Promise<Check[]>): Promise<Check[]> {
  try {
    return await checks();
  } catch (error) {
    return [
      warn(
        name,
        `not looked at: ${(error as Error).name}: ${(error as Error).message.slice(0, 160)}`,
        isDenied(error)
          ? "Ask for the action that the sentence names, or let somebody look who has it."
          : "Look again; if it happens again, the service may not be there in this region.",
      ),
    ];
  }
}
