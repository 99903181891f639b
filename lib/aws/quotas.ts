// Service quotas against what the deployment's fleets can ask for at once. Quotas of new accounts for P instances, and
// all Spot ones, are 0.
import { paginateListServiceQuotas, type ServiceQuota, ServiceQuotasClient } from "@aws-sdk/client-service-quotas";
import type { Deployment } from "../contracts/deployment.ts";
import { GPU_INSTANCE_TYPES } from "../contracts/instance-types.ts";
import { MOST_AT_ONCE } from "../contracts/plan.ts";
import { type Check, fail, ok, warn } from "./check.ts";

/** EC2's quotas count vCPUs, by family and by Spot or not: the codes of its page "EC2 service quotas". */
const EC2_VCPUS = {
  p: { "on-demand": "L-417A185B", spot: "L-7212CCBC" },
  g: { "on-demand": "L-DB2E81BA", spot: "L-3819A6DF" },
  standard: { "on-demand": "L-1216C47A", spot: "L-34B43A08" },
} as const;

/** Concurrent executions of the region's functions, all of the account's together. */
const LAMBDA_CONCURRENCY = "L-B99A9384";
/**
 * Functions of one run at once, at most: each engine of each training may ask the ledger; start-run, the guard and another
 * run's plan and report beside them. New accounts may have 10.
 */
const FUNCTIONS_AT_ONCE = MOST_AT_ONCE * MOST_AT_ONCE + 4;

interface Need {
  service: "ec2" | "sagemaker" | "lambda";
  /** A code, or the name that SageMaker gives a quota of one type: the names of its page in Service Quotas. */
  quota: string;
  what: string;
  /** What a run may ask for at once. */
  needed: number;
  /** Where a smaller quota does: what one job takes, and what becomes of those that find none.
   * @default - all that is needed */
  enough?: { least: number; otherwise: string };
}

const familyOf = (instanceType: string): "p" | "g" => (instanceType.startsWith("p") ? "p" : "g");

/** @returns what every fleet, ingest, the trainings, transforms and functions need at once, quotas that several need added up */
export function needsOf(config: Deployment): Need[] {
  const needs = new Map<string, Need>();
  const need = (one: Need) => {
    const known = needs.get(one.quota);
    needs.set(one.quota, known ? { ...known, needed: known.needed + one.needed } : one);
  };
  for (const each of config.fleets) {
    // Capacity Blocks are bought: they have no quota of vCPUs.
    if (each.rung === "reservation" && each.capacityBlock) continue;
    const purchase = each.rung === "spot" ? "spot" : "on-demand";
    const family = familyOf(each.instanceType);
    need({
      service: "ec2",
      quota: EC2_VCPUS[family][purchase],
      what: `vCPUs of ${family.toUpperCase()} instances, ${purchase === "spot" ? "Spot" : "On-Demand"}`,
      needed: each.maxNodes * GPU_INSTANCE_TYPES[each.instanceType].vcpus,
    });
  }
  for (const purchase of ["spot", "on-demand"] as const)
    need({
      service: "ec2",
      quota: EC2_VCPUS.standard[purchase],
      what: `vCPUs of standard instances, ${purchase === "spot" ? "Spot" : "On-Demand"} (ingest)`,
      needed: config.ingest.maxVcpus,
    });
  for (const one of sageMakerNeeds(config)) needs.set(one.quota, one);
  need({
    service: "lambda",
    quota: LAMBDA_CONCURRENCY,
    what: "concurrent executions of functions, with the account's others",
    needed: FUNCTIONS_AT_ONCE,
  });
  return [...needs.values()];
}

/** SageMaker's instances are apart from EC2's: a quota for each type and kind of job. What is reserved has none. */
function sageMakerNeeds({ fleets, training, transform }: Deployment): Need[] {
  const needs: Need[] = [];
  const need = (instanceType: string, use: string, rest: Pick<Need, "needed" | "enough">) =>
    needs.push({
      service: "sagemaker",
      quota: `ml.${instanceType} for ${use} usage`,
      what: `ml.${instanceType} for ${use}s`,
      ...rest,
    });
  for (const { rung, instanceType } of training.backend === "sagemaker" ? fleets : []) {
    if (rung === "reservation") continue;
    // A training of several nodes runs over EFA alone, and never on Spot.
    const nodes = rung !== "spot" && GPU_INSTANCE_TYPES[instanceType].efaCards > 0 ? training.nodes : 1;
    const needed = MOST_AT_ONCE * nodes;
    const each = nodes > 1 ? `, each on up to ${nodes} instances` : "";
    need(instanceType, rung === "spot" ? "spot training job" : "training job", {
      needed,
      enough: {
        least: nodes,
        otherwise: `A run trains up to ${MOST_AT_ONCE} at once${each}; what is refused goes to the next rung, and fails on the last.`,
      },
    });
    if (training.warmPoolSeconds > 0 && rung !== "spot")
      need(instanceType, "training warm pool", {
        needed,
        enough: { least: 0, otherwise: "Instances beyond it are not kept for the next training." },
      });
  }
  if (transform.enabled)
    need(transform.instanceType, "transform job", {
      needed: MOST_AT_ONCE * MOST_AT_ONCE * transform.maxNodes,
      enough: {
        least: transform.maxNodes,
        otherwise: `A run of several trainings and engines infers up to ${MOST_AT_ONCE * MOST_AT_ONCE} times at once, each on ${transform.maxNodes} instances; what is refused goes to the fleets' arrays.`,
      },
    });
  return needs;
}

export async function quotaChecks(
  config: Deployment,
  client: ServiceQuotasClient = new ServiceQuotasClient({}),
): Promise<Check[]> {
  const needs = needsOf(config);
  const checks: Check[] = [];
  for (const service of [...new Set(needs.map((need) => need.service))]) {
    const quotas = await quotasOf(service, client);
    for (const need of needs.filter((each) => each.service === service)) {
      const { QuotaCode, Value } =
        quotas.find(({ QuotaCode, QuotaName }) => QuotaCode === need.quota || QuotaName === need.quota) ?? {};
      checks.push(quotaCheck(need, QuotaCode ?? need.quota, Value));
    }
  }
  return checks;
}

/** @param value - undefined where the region does not list the quota */
function quotaCheck({ service, what, needed, enough }: Need, code: string, value: number | undefined): Check {
  const name = `quota: ${what}`;
  if (value !== undefined && value >= needed) return ok(name, `${value}, ${needed} needed`);
  const isEnough = enough !== undefined && (value ?? 0) >= enough.least;
  const lower = { ec2: ", or lower maxNodes", sagemaker: "", lambda: "" }[service];
  const ask = `Ask for at least ${needed} in Service Quotas (${service}, ${code})${lower}.`;
  return (isEnough ? warn : fail)(
    name,
    value === undefined ? "not listed in this region" : `${value} of the ${needed} needed`,
    enough ? `${ask} ${enough.otherwise}` : ask,
  );
}

async function quotasOf(ServiceCode: string, client: ServiceQuotasClient): Promise<ServiceQuota[]> {
  const quotas: ServiceQuota[] = [];
  for await (const page of paginateListServiceQuotas({ client, pageSize: 100 }, { ServiceCode }))
    quotas.push(...(page.Quotas ?? []));
  return quotas;
}
