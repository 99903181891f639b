import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { PricingClient } from "@aws-sdk/client-pricing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fetchPrices, withTable } from "../../lib/aws/refresh-prices.ts";
import { refresh } from "../../lib/cli/commands/aws/refresh-prices.ts";
import { main } from "../../lib/cli/main.ts";
import type { Message } from "../../lib/cli/messages.ts";
import { PRICE_TABLE } from "../../lib/contracts/price-table.ts";
import {
  DEAREST_CPU_INSTANCE_TYPE,
  mostUsdPerHour,
  PRICES,
  PRICES_DATE,
  SAGEMAKER_MOST_PER_EC2,
} from "../../lib/contracts/prices.ts";
import { motoEnvironment } from "./moto.ts";
import { RecordedAws } from "./recorded.ts";

/** A product as the Price List API gives it: JSON in JSON. */
const product = (attributes: Record<string, string>, ...usd: string[]) =>
  JSON.stringify({
    product: { productFamily: "Compute Instance", attributes, sku: "SKU" },
    serviceCode: "AmazonEC2",
    terms: {
      OnDemand: {
        "SKU.TERM": {
          priceDimensions: Object.fromEntries(
            usd.map((USD, index) => [`SKU.TERM.${index}`, { unit: "Hrs", pricePerUnit: { USD } }]),
          ),
        },
      },
      Reserved: { "SKU.R": { priceDimensions: { x: { unit: "Hrs", pricePerUnit: { USD: "0.5000000000" } } } } },
    },
  });

interface Request {
  ServiceCode: string;
  Filters: { Field: string; Value: string }[];
  NextToken?: string;
}

let aws: RecordedAws;
let client: PricingClient;
beforeEach(async () => {
  aws = new RecordedAws();
  client = new PricingClient({
    endpoint: await aws.start(),
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "s" },
  });
});
afterEach(() => aws.stop());

const fieldOf = ({ Filters }: Request, name: string) => Filters.find(({ Field }) => Field === name)?.Value;

describe("the price table, refreshed", () => {
  it("has the On-Demand price of Linux, shared and without licences, of each type that the region offers", async () => {
    aws.answers.GetProducts = ((request: Request) => {
      if (request.ServiceCode === "AmazonSageMaker")
        return request.NextToken
          ? { PriceList: [product({ usagetype: "EUC1-Host:ml.p5.4xlarge" }, "99")] }
          : {
              PriceList: [
                product({ usagetype: "EUC1-Train:ml.p5.4xlarge" }, "7.9"),
                product({ usagetype: "EUC1-Train:ml.m5.large" }, "0.1"),
              ],
              NextToken: "more",
            };
      const type = fieldOf(request, "instanceType");
      if (type === "p5.4xlarge")
        return { PriceList: [product({ instanceType: type }, "0.0000000000", "6.8800000000")] };
      return { PriceList: type === "p4d.24xlarge" ? [product({ instanceType: type }, "0")] : [] };
    }) as never;
    const table = await fetchPrices("eu-central-1", client, new Date("2026-11-24T10:00:00Z"));
    expect(table).toEqual({
      region: "eu-central-1",
      date: "2026-11-24",
      ec2: { "p5.4xlarge": 6.88 },
      sageMakerTraining: { "p5.4xlarge": 7.9 },
    });
    const [first] = aws.inputsOf("GetProducts") as unknown as Request[];
    expect(Object.fromEntries(first!.Filters.map(({ Field, Value }) => [Field, Value]))).toMatchObject({
      regionCode: "eu-central-1",
      operatingSystem: "Linux",
      tenancy: "Shared",
      preInstalledSw: "NA",
      capacitystatus: "Used",
    });
  });

  it("is refused for a region that has no price at all, and then nothing is written", async () => {
    aws.answers.GetProducts = { PriceList: [] };
    await expect(fetchPrices("nowhere-1", client, new Date())).rejects.toMatchObject({
      code: "PricesMissing",
      message: expect.stringContaining("nowhere-1"),
    });
  });

  it("is written as the source of price-table.ts, which stays what it is with its own prices", () => {
    const source = readFileSync(new URL("../../lib/contracts/price-table.ts", import.meta.url), "utf8");
    const { region, date, ec2, sageMakerTraining } = PRICE_TABLE;
    expect(withTable(source, { region, date, ec2: { ...ec2 }, sageMakerTraining: { ...sageMakerTraining } })).toBe(
      source,
    );
    const other = withTable(source, { region: "r", date: "d", ec2: { b: 2, a: 1 }, sageMakerTraining: { c: 3 } });
    expect(other).toContain('ec2: {\n    "a": 1,\n    "b": 2,\n  },\n  sageMakerTraining: {\n    "c": 3,\n  },');
  });
});

describe("voxelburst cost --refresh-prices", () => {
  const source = readFileSync(new URL("../../lib/contracts/price-table.ts", import.meta.url), "utf8");
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "voxelburst-prices-"));
    for (const [name, value] of Object.entries(motoEnvironment(aws.url))) vi.stubEnv(name, value);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });

  it("writes the table of the region that it is given, and shows it", async () => {
    const file = path.join(folder, "price-table.ts");
    writeFileSync(file, source);
    aws.answers.GetProducts = ((request: Request) =>
      fieldOf(request, "instanceType") === "p5.4xlarge"
        ? { PriceList: [product({ instanceType: "p5.4xlarge" }, "7.5")] }
        : { PriceList: [] }) as never;
    const messages: Message[] = [];
    const { json } = await refresh({ emit: (message) => messages.push(message) }, "eu-central-1", file);
    expect(json).toMatchObject({ region: "eu-central-1", ec2: { "p5.4xlarge": 7.5 } });
    expect(readFileSync(file, "utf8")).toContain('region: "eu-central-1"');
    const { PRICE_TABLE: written } = await import(file);
    expect(written).toEqual(json);
    expect(JSON.stringify(messages)).toMatch(/eu-central-1.*p5\.4xlarge.*7\.50.*not offered/);
  });

  it("is an option of the command line, which ends with a sentence and writes nothing for a region without prices", async () => {
    aws.answers.GetProducts = { PriceList: [] };
    const said = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    expect(await main(["cost", "--refresh-prices", "nowhere-1"])).toBe(2);
    expect(String(said.mock.calls[0]![0])).toMatch(/^PricesMissing: .*nowhere-1/);
    said.mockRestore();
    expect(readFileSync(new URL("../../lib/contracts/price-table.ts", import.meta.url), "utf8")).toBe(source);
  });
});

describe("the most that an hour costs", () => {
  it("is the table's, or the deployment's where it names one", () => {
    expect(mostUsdPerHour("ec2", "p5.4xlarge")).toBe(6.88);
    expect(mostUsdPerHour("ec2", "p5e.48xlarge", 50)).toBe(50);
    expect(() => mostUsdPerHour("ec2", "p5e.48xlarge")).toThrow(/p5e.48xlarge, which has no price here/);
  });

  it("is higher on SageMaker, by the dearest ratio known where the table has no price of its own", () => {
    expect(mostUsdPerHour("sagemaker", "g6e.xlarge")).toBeGreaterThanOrEqual(2.61);
    expect(mostUsdPerHour("sagemaker", "p5.4xlarge")).toBeCloseTo(6.88 * SAGEMAKER_MOST_PER_EC2);
  });

  it("is dated, and known of everything that ingest may run on", () => {
    expect(PRICES_DATE).toMatch(/^\d{4}-\d{2}(-\d{2})?$/);
    expect(PRICES.every(({ usdPerHour }) => usdPerHour > 0)).toBe(true);
    expect(DEAREST_CPU_INSTANCE_TYPE).toBe("r6id.4xlarge");
  });
});
