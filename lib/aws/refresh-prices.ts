// Renews lib/contracts/price-table.ts from AWS's Price List API, for `voxelburst cost --refresh-prices`. Field names are
// those of the price lists as AWS publishes them; unverified on a real account.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Filter, PricingClient, paginateGetProducts } from "@aws-sdk/client-pricing";
import { VoxelburstError } from "../contracts/error.ts";
import { PRICED_INSTANCE_TYPES } from "../contracts/prices.ts";

export interface PriceTable {
  region: string;
  date: string;
  ec2: Record<string, number>;
  sageMakerTraining: Record<string, number>;
}

/** A product of the price list, as far as it is read. */
interface Product {
  product?: { attributes?: Record<string, string> };
  terms?: { OnDemand?: Record<string, { priceDimensions: Record<string, { pricePerUnit: { USD?: string } }> }> };
}

/** Where the Price List API has an endpoint; it answers for every region. */
const API_REGION = "us-east-1";

/**
 * On-Demand prices of every type of the table in a region; what the region does not offer is left out.
 *
 * @throws VoxelburstError PricesMissing when the API has none at all for the region
 */
export async function fetchPrices(region: string, client: PricingClient, now: Date): Promise<PriceTable> {
  const table: PriceTable = { region, date: now.toISOString().slice(0, 10), ec2: {}, sageMakerTraining: {} };
  const base = { regionCode: region };
  for (const instanceType of PRICED_INSTANCE_TYPES) {
    const shape = { operatingSystem: "Linux", tenancy: "Shared", preInstalledSw: "NA", capacitystatus: "Used" };
    const products = await productsOf(client, "AmazonEC2", { ...base, ...shape, instanceType });
    const prices = products.map(onDemandUsd).filter((price) => price !== undefined);
    if (prices.length > 0) table.ec2[instanceType] = Math.max(...prices);
  }
  for (const product of await productsOf(client, "AmazonSageMaker", { ...base, component: "Training" })) {
    // USE1-Train:ml.p5.48xlarge; us-east-1's has had no prefix in older lists.
    const type = /(?:^|-)Train:ml\.(.+)$/.exec(product.product?.attributes?.usagetype ?? "")?.[1];
    const usd = onDemandUsd(product);
    if (type && usd !== undefined && PRICED_INSTANCE_TYPES.includes(type))
      table.sageMakerTraining[type] = Math.max(usd, table.sageMakerTraining[type] ?? 0);
  }
  if (Object.keys(table.ec2).length === 0)
    throw new VoxelburstError(
      "PricesMissing",
      `The Price List API has no On-Demand price of ${PRICED_INSTANCE_TYPES.length} types in ${region}.`,
      "Check the region's name; allowed are the codes of AWS's regions, such as us-east-1.",
      { field: "region", got: region },
    );
  return table;
}

async function productsOf(client: PricingClient, ServiceCode: string, fields: Record<string, string>) {
  const Filters = Object.entries(fields).map(([Field, Value]): Filter => ({ Type: "TERM_MATCH", Field, Value }));
  const products: Product[] = [];
  for await (const { PriceList = [] } of paginateGetProducts({ client }, { ServiceCode, Filters }))
    products.push(...PriceList.map((text: unknown) => JSON.parse(String(text)) as Product));
  return products;
}

/** USD an hour; undefined for what is free or not sold on demand, such as capacity that was paid for in advance. */
function onDemandUsd({ terms }: Product): number | undefined {
  const prices = Object.values(terms?.OnDemand ?? {})
    .flatMap((term) => Object.values(term.priceDimensions))
    .map(({ pricePerUnit }) => Number(pricePerUnit.USD ?? 0))
    .filter((price) => price > 0);
  return prices.length > 0 ? Math.max(...prices) : undefined;
}

/** The source of price-table.ts with another table. */
export function withTable(source: string, table: PriceTable): string {
  const sorted = (prices: Record<string, number>) =>
    Object.entries(prices)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([type, usd]) => `    ${JSON.stringify(type)}: ${usd},\n`)
      .join("");
  const block = (prices: Record<string, number>) =>
    Object.keys(prices).length === 0 ? "{}" : `{\n${sorted(prices)}  }`;
  const head = source.slice(0, source.indexOf("} = {") + "} = {".length);
  return `${head}
  region: ${JSON.stringify(table.region)},
  date: ${JSON.stringify(table.date)},
  ec2: ${block(table.ec2)},
  sageMakerTraining: ${block(table.sageMakerTraining)},
};
`;
}

const TABLE_FILE = fileURLToPath(new URL("../contracts/price-table.ts", import.meta.url));

/**
 * Fetches the prices of a region and writes them into the source tree, for the next deployment.
 *
 * @param file - price-table.ts
 * @throws VoxelburstError PricesMissing
 */
export async function refreshPrices(
  region: string,
  file = TABLE_FILE,
  client = new PricingClient({ region: API_REGION }),
): Promise<PriceTable> {
  const table = await fetchPrices(region, client, new Date());
  writeFileSync(file, withTable(readFileSync(file, "utf8"), table));
  return table;
}
