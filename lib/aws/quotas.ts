// Service quotas against what the deployment's fleets can ask for at once. Quotas of new accounts for P instances, and
// all Spot ones, are 0.
import { paginateListServiceQuotas, type ServiceQuota, ServiceQuotasClient } from "@aws-sdk/client-service-quotas";
import type { Deployment } from "../contracts/deployment.ts";
import { GPU_INSTANCE_TYPES } from "../contracts/instance-types.ts";
import { type Check, fail, ok } from "./check.ts";

/** EC2's quotas count vCPUs, by family and by Spot or not: the codes of its page "EC2 service quotas". */
const EC2_VCPUS = {
  p: { "on-demand": "L-417A185B", spot: "L-7212CCBC" },
  g: { "on-demand": "L-DB2E81BA", spot: "L-3819A6DF" },
  standard: { "on-demand": "L-1216C47A", spot: "L-34B43A08" },
} as const;

/** Concurrent executions of the region's functions, all of the account's together. */
const LAMBDA_CONCURRENCY = "L-B99A9384";
/**
 * Functions of one run at once, at most: plan lets four trainings work side by side (lambdas/plan/shards.ts) and each of
 * them as many engines, of which each may ask the ledger; start-run, the guard and another run's plan and report beside
 * them. New accounts may have 10.
 */
const FUNCTIONS_AT_ONCE = 4 * 4 + 4;

interface Need {
  service: "ec2" | "sagemaker" | "lambda";
  /** A code, or the name that SageMaker gives a quota of one type. */
  quota: string;
  what: string;
  needed: number;
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
  if (config.training.backend === "sagemaker")
    for (const each of config.fleets.filter(({ rung }) => rung !== "reservation")) {
      const job = each.rung === "spot" ? "spot training job" : "training job";
      need({
        service: "sagemaker",
        quota: `ml.${each.instanceType} for ${job} usage`,
        what: `ml.${each.instanceType} for ${job}s`,
        needed: each.rung === "spot" ? 1 : config.training.nodes,
      });
    }
  if (config.transform.enabled)
    need({
      service: "sagemaker",
      quota: `ml.${config.transform.instanceType} for transform job usage`,
      what: `ml.${config.transform.instanceType} for transform jobs`,
      needed: config.transform.maxNodes,
    });
  need({
    service: "lambda",
    quota: LAMBDA_CONCURRENCY,
    what: "concurrent executions of functions, with the account's others",
    needed: FUNCTIONS_AT_ONCE,
  });
  return [...needs.values()];
}

export async function quotaChecks(
  config: Deployment,
  client: ServiceQuotasClient = new ServiceQuotasClient({}),
): Promise<Check[]> {
  const needs = needsOf(config);
  const checks: Check[] = [];
  for (const service of [...new Set(needs.map((need) => need.service))]) {
    const quotas = await quotasOf(service, client);
    for (const { what, quota, needed } of needs.filter((need) => need.service === service)) {
      const found = quotas.find(({ QuotaCode, QuotaName }) => QuotaCode === quota || QuotaName === quota);
      const name = `quota: ${what}`;
      const remedy = `Ask for at least ${needed} in Service Quotas (${service}, ${found?.QuotaCode ?? quota})${service === "lambda" ? "" : ", or lower maxNodes"}.`;
      if (!found) checks.push(fail(name, "not listed in this region", remedy));
      else if ((found.Value ?? 0) < needed) checks.push(fail(name, `${found.Value} of the ${needed} needed`, remedy));
      else checks.push(ok(name, `${found.Value}, ${needed} needed`));
    }
  }
  return checks;
}

async function quotasOf(ServiceCode: string, client: ServiceQuotasClient): Promise<ServiceQuota[]> {
  const quotas: ServiceQuota[] = [];
  for await (const page of paginateListServiceQuotas({ client, pageSize: 100 }, { ServiceCode }))
    quotas.push(...(page.Quotas ?? []));
  return quotas;
}
