// voxelburst cost --refresh-prices [REGION]: the price table of the region that is deployed to, as of today.
import { refreshPrices } from "../../../aws/refresh-prices.ts";
import { PRICES_REGION } from "../../../contracts/index.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { readDeployment } from "../../deployment-config.ts";
import { EXIT } from "../../exit-codes.ts";
import { usd } from "../../format.ts";
import { note } from "../../messages.ts";

/**
 * @param given - true where no region is named: then it is the deployment's, the profile's or the table's own
 * @param file - the table's source
 */
export async function refresh(
  { emit }: Pick<CommandContext, "emit">,
  given: string | true,
  file?: string,
): Promise<CommandResult> {
  const region = given === true ? (readDeployment(undefined).region ?? process.env.AWS_REGION ?? PRICES_REGION) : given;
  const table = await refreshPrices(region, file);
  const types = Object.keys({ ...table.ec2, ...table.sageMakerTraining }).sort();
  const price = (value: number | undefined) => (value === undefined ? "not offered" : usd(value));
  emit({
    kind: "table",
    code: "Prices",
    title: `USD an hour on demand, ${region}, ${table.date}`,
    table: {
      columns: [
        { title: "instance type" },
        { title: "EC2", align: "right" },
        { title: "SageMaker training", align: "right" },
      ],
      rows: types.map((type) => [type, price(table.ec2[type]), price(table.sageMakerTraining[type])]),
    },
  });
  emit(note("Written", "lib/contracts/price-table.ts has them: commit it, then `voxelburst deploy`"));
  return { exitCode: EXIT.done, json: table };
}
