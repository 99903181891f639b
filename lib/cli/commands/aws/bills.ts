// voxelburst destroy --verify: what bills now, and what of it would still bill without the stacks.
import { LISTED_DAYS, stillBilling } from "../../../aws/bills.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { plural } from "../../format.ts";
import { note } from "../../messages.ts";

export async function listBills({ emit }: CommandContext): Promise<CommandResult> {
  const bills = await stillBilling();
  const left = bills.filter(({ goes }) => !goes);
  if (bills.length > 0)
    emit({
      kind: "table",
      code: "Billing",
      table: {
        columns: [{ title: "what" }, { title: "which" }, { title: "after destroy" }, { title: "why" }],
        rows: bills
          .toSorted((a, b) => Number(a.goes) - Number(b.goes))
          .map(({ what, id, goes, why }) => [what, id, goes ? "goes" : "STAYS", why]),
      },
    });
  emit(
    note(
      "BillsLeft",
      left.length === 0
        ? "nothing of voxelburst would bill without its stacks"
        : `${plural(left.length, "thing")} would still bill without the stacks: empty and delete them by hand when their content may go`,
    ),
  );
  emit(
    note(
      "BillsUnlisted",
      `what a stack kept that was deleted more than ${LISTED_DAYS} days ago is not listed, nor is another region: \`aws resourcegroupstaggingapi get-resources --tag-filters Key=application,Values=voxelburst\` names it, and for a while what was deleted`,
    ),
  );
  return { exitCode: EXIT.done, json: { status: left.length === 0 ? "clean" : "billing", bills } };
}
