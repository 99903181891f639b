// What the options of a deployment have to agree on among each other, and what a pattern cannot say of one alone.
import type * as z from "zod";
import type { Deployment } from "./deployment.ts";
import { GPU_INSTANCE_TYPES } from "./instance-types.ts";
import { PRICES } from "./prices.ts";

type Refuse = (path: (string | number)[], allowed: string) => void;

const hasPrice = (type: string) => PRICES.some(({ instanceType }) => instanceType === type);

/** Refuses, by the option's path with what is allowed there, whatever cannot be deployed or would fail every run. */
export function checkTogether(config: Deployment, context: z.RefinementCtx): void {
  const refuse: Refuse = (path, message) => context.addIssue({ code: "custom", path, message });
  checkFleets(config, refuse);
  checkTraining(config, refuse);
  checkPlaces(config, refuse);
  checkTags(config, refuse);
}

function checkTags({ tags }: Deployment, refuse: Refuse): void {
  for (const key of Object.keys(tags)) {
    if (/^aws:/i.test(key)) refuse(["tags", key], 'a key that does not begin with "aws:", which is AWS\'s own');
    if (/^voxelburst:/i.test(key))
      refuse(["tags", key], 'a key that does not begin with "voxelburst:", which are those of a run\'s jobs');
    // In any case: IAM takes keys of a role that differ in case alone for one, and refuses it.
    if (/^application$/i.test(key))
      refuse(["tags", key], "another key, since application=voxelburst is what budgets and the bill go by");
  }
}

function checkFleets(config: Deployment, refuse: Refuse): void {
  const seen = new Set<string>();
  config.fleets.forEach((each, index) => {
    const name = `${each.rung} ${each.instanceType}`;
    if (seen.has(name)) refuse(["fleets", index, "instanceType"], `one fleet a rung and type; ${name} stands twice`);
    seen.add(name);
    // The ledger reserves dollars: a type without a price would refuse every run.
    if (each.usdPerHour === undefined && !hasPrice(each.instanceType))
      refuse(["fleets", index, "usdPerHour"], `a price, since the table has none for ${each.instanceType}`);
    if (each.rung === "reservation" && each.capacityBlock && each.placementGroup)
      refuse(["fleets", index, "placementGroup"], "nothing, since a Capacity Block is in no placement group");
    const isZoneNeeded = each.rung === "reservation" && config.vpc.use === "new" && !config.zones;
    if (isZoneNeeded) refuse(["zones"], "the zone of the reservation first, since capacity is reserved in one zone");
  });
}

function checkTraining({ training, fleets }: Deployment, refuse: Refuse): void {
  const { trainingPlanArn, planInstanceType, backend, nodes } = training;
  if ((trainingPlanArn === undefined) !== (planInstanceType === undefined))
    refuse(
      ["training", trainingPlanArn === undefined ? "trainingPlanArn" : "planInstanceType"],
      "trainingPlanArn and planInstanceType together, or neither",
    );
  if (trainingPlanArn !== undefined && backend !== "sagemaker")
    refuse(["training", "backend"], '"sagemaker", whose capacity a training plan reserves');
  if (planInstanceType !== undefined && !hasPrice(planInstanceType))
    refuse(["training", "planInstanceType"], "a type that the price table has, since the ledger reserves dollars");
  const onSeveral = fleets.filter(
    ({ rung, instanceType }) => rung !== "spot" && GPU_INSTANCE_TYPES[instanceType].efaCards > 0,
  );
  if (nodes > 1 && backend === "batch" && !onSeveral.some(({ maxNodes }) => maxNodes >= nodes))
    refuse(["training", "nodes"], "at most the maxNodes of a fleet with EFA that is not on Spot, or 1");
  const isPlanForSeveral = planInstanceType !== undefined && GPU_INSTANCE_TYPES[planInstanceType].efaCards > 0;
  if (nodes > 1 && backend === "sagemaker" && onSeveral.length === 0 && !isPlanForSeveral)
    refuse(["training", "nodes"], "1 without a fleet with EFA that is not on Spot, or a training plan on such a type");
}

/** Everything is in one region: the network has no way out to another. */
function checkPlaces({ region, zones, vpc, keys, image, training }: Deployment, refuse: Refuse): void {
  if (zones && vpc.use === "existing") refuse(["zones"], "nothing, since the subnets of vpc have their zones");
  for (const [index, zone] of (zones ?? []).entries()) {
    if (!region || !zone.startsWith(region))
      refuse(["zones", index], "a zone of `region`, which has to be given with it");
    if (zones!.indexOf(zone) < index) refuse(["zones", index], `each zone once; ${zone} stands twice`);
  }
  if (region === undefined) return;
  const elsewhere = (path: (string | number)[], of: string | undefined) => {
    if (of !== undefined && of !== region) refuse(path, `something in \`region\`, which is ${region}`);
  };
  if (vpc.use === "existing")
    for (const [index, { zone }] of vpc.subnets.entries())
      if (!zone.startsWith(region))
        refuse(["vpc", "subnets", index, "zone"], `a zone of \`region\`, which is ${region}`);
  const regionOf = (arn: string | undefined) => arn?.split(":")[3];
  elsewhere(["keys", "dataKeyArn"], regionOf(keys.dataKeyArn));
  elsewhere(["keys", "logKeyArn"], regionOf(keys.logKeyArn));
  elsewhere(["training", "trainingPlanArn"], regionOf(training.trainingPlanArn));
  if (image.source === "ecr") elsewhere(["image", "uri"], image.uri.split(".")[3]);
}

/** Whether text is the address block of a network: four bytes, a length, and no bit set behind it. */
export function isNetwork(text: string): boolean {
  const [address = "", length = ""] = text.split("/");
  const bytes = address.split(".").map(Number);
  if (bytes.length !== 4 || bytes.some((byte) => !(byte >= 0 && byte <= 255))) return false;
  const bits = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  return bits % 2 ** (32 - Number(length)) === 0;
}

export function isTimeZone(text: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: text }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}
