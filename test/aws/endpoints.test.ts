// What doctor says of a VPC's endpoints, as moto's EC2 has them: before a first deployment and after it.
import {
  CreateRouteTableCommand,
  CreateVpcCommand,
  CreateVpcEndpointCommand,
  DeleteVpcEndpointsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { describe, expect, test } from "vitest";
import { endpointChecks } from "../../lib/aws/endpoints.ts";
import { JOB_ENDPOINTS, type JobEndpoint } from "../../lib/contracts/index.ts";
import { useMoto } from "./moto.ts";

useMoto();

/** An existing VPC with a route table; `make` adds an endpoint to it, `ask` is doctor's question. */
async function existing() {
  const client = new EC2Client({});
  const vpcId = (await client.send(new CreateVpcCommand({ CidrBlock: "10.0.0.0/16" }))).Vpc!.VpcId!;
  const table = async () =>
    (await client.send(new CreateRouteTableCommand({ VpcId: vpcId }))).RouteTable!.RouteTableId!;
  const routeTableId = await table();
  const make = async (name: JobEndpoint, { privateDns = true, routeTables = [routeTableId] } = {}) => {
    const { VpcEndpoint } = await client.send(
      new CreateVpcEndpointCommand({
        VpcId: vpcId,
        ServiceName: `com.amazonaws.us-east-1.${name}`,
        ...(name === "s3"
          ? { VpcEndpointType: "Gateway", RouteTableIds: routeTables }
          : { VpcEndpointType: "Interface", PrivateDnsEnabled: privateDns }),
      }),
    );
    return VpcEndpoint!.VpcEndpointId!;
  };
  const remove = (id: string) => client.send(new DeleteVpcEndpointsCommand({ VpcEndpointIds: [id] }));
  const subnets = [{ subnetId: "subnet-0a1b2c3d", zone: "us-east-1a", routeTableId, addresses: 251 }];
  const ask = async (createEndpoints: boolean | JobEndpoint[], own: string[] = []) =>
    (await endpointChecks({ use: "existing", vpcId, subnets, createEndpoints }, vpcId, own))[0]!;
  /** Another subnet of the configuration, with a route table of its own. */
  const addSubnet = async () => {
    const id = await table();
    subnets.push({ subnetId: "subnet-1a1b2c3d", zone: "us-east-1b", routeTableId: id, addresses: 251 });
    return id;
  };
  return { make, remove, ask, table, addSubnet };
}

const without = (...names: JobEndpoint[]) => JOB_ENDPOINTS.filter((name) => !names.includes(name));

describe("before the first deployment", () => {
  test("endpoints that a VPC lacks are good where they will be made, and a failure where not", async () => {
    const { ask } = await existing();
    expect(await ask(true)).toMatchObject({ state: "ok", found: expect.stringMatching(/lacks ecs.* deploy/) });
    expect(await ask(without("logs"))).toMatchObject({ state: "failed", found: expect.stringMatching(/lacks logs$/) });
    expect(await ask(false)).toMatchObject({ state: "failed", found: expect.stringMatching(/lacks ecs, .*s3/) });
  });

  test("a private name that the VPC has already is a failure, with what to set", async () => {
    const { ask, make } = await existing();
    const logs = await make("logs");
    const check = await ask(true);
    expect(check).toMatchObject({ state: "failed", found: expect.stringContaining(`logs (${logs})`) });
    expect(check.remedy).toContain(`\`vpc.createEndpoints\` to ${JSON.stringify(without("logs"))}`);
    expect(await ask(without("logs"))).toMatchObject({ state: "ok" });
  });

  test("an endpoint without private DNS stands in nobody's way, and may be found by other means", async () => {
    const { ask, make } = await existing();
    await make("logs", { privateDns: false });
    expect(await ask(true)).toMatchObject({ state: "ok" });
    expect(await ask(without("logs"))).toMatchObject({ state: "ok" });
  });

  test("a gateway for S3 conflicts in the subnets' route tables alone, and is wanted in each of them", async () => {
    const { ask, make, table } = await existing();
    await make("s3", { routeTables: [await table()] });
    expect(await ask(true)).toMatchObject({ state: "ok" });
    expect(await ask(without("s3"))).toMatchObject({
      state: "failed",
      found: expect.stringMatching(/lacks s3 \(a gateway in rtb-/),
    });
    await make("s3");
    expect(await ask(true)).toMatchObject({ state: "failed", found: expect.stringMatching(/has s3 \(vpce-/) });
    expect(await ask(without("s3"))).toMatchObject({ state: "ok" });
  });

  test("a gateway in one of two route tables is to get the other, and s3 to be left out", async () => {
    const { ask, make, addSubnet } = await existing();
    const second = await addSubnet();
    const gateway = await make("s3");
    const command = `aws ec2 modify-vpc-endpoint --vpc-endpoint-id ${gateway} --add-route-table-ids ${second}\``;
    const named = await ask(true);
    expect(named).toMatchObject({ state: "failed", found: expect.stringContaining(`s3 (${gateway})`) });
    expect(named.remedy).toContain(JSON.stringify(without("s3")));
    expect(named.remedy).toContain(command);
    const leftOut = await ask(without("s3"));
    expect(leftOut).toMatchObject({
      state: "failed",
      found: expect.stringMatching(new RegExp(`lacks s3 .a gateway in ${second}.$`)),
    });
    expect(leftOut.remedy).toContain(command);
    expect(leftOut.remedy).not.toContain("Name them");
    expect((await ask(without("s3", "logs"))).remedy).toMatch(/Name them .* modify-vpc-endpoint/);
    await make("s3", { routeTables: [second] });
    expect(await ask(without("s3")), "two gateways").toMatchObject({ state: "ok" });
  });

  test("a VPC that has all of them needs none", async () => {
    const { ask, make } = await existing();
    for (const name of JOB_ENDPOINTS) await make(name);
    expect(await ask(false)).toMatchObject({ state: "ok", found: expect.stringMatching(/has all 8$/) });
    expect((await ask(true)).remedy).toContain("`vpc.createEndpoints` to false");
  });
});

describe("after the deployment", () => {
  test("our own endpoints are no conflict, and one that was deleted is missed", async () => {
    const { ask, make, remove } = await existing();
    const own: string[] = [];
    for (const name of JOB_ENDPOINTS) own.push(await make(name));
    expect(await ask(true, own)).toMatchObject({ state: "ok", found: expect.stringMatching(/has all 8$/) });
    await remove(own[0]!);
    expect(await ask(true, own)).toMatchObject({
      state: "failed",
      found: expect.stringMatching(/lacks ecs$/),
      remedy: expect.stringMatching(new RegExp(`start or log. ${own[0]} of the network stack is gone`)),
    });
  });

  test("one that the list exchanges for another is made, though there are as many as before", async () => {
    const { ask, make } = await existing();
    const own = [await make("ecs"), await make("ecs-agent")];
    for (const name of without("ecs", "ecs-agent", "ecs-telemetry")) await make(name);
    expect(await ask(["ecs-agent", "ecs-telemetry"], own)).toMatchObject({
      state: "warning",
      found: expect.stringMatching(
        /lacks ecs-telemetry, which `voxelburst deploy` makes; .* removes ecs, which nobody/,
      ),
    });
    await make("ecs", { privateDns: false });
    expect(await ask(["ecs-agent", "ecs-telemetry"], own)).toMatchObject({
      state: "ok",
      found: expect.stringMatching(/lacks ecs-telemetry, which `voxelburst deploy` makes$/),
    });
  });

  test("what the configuration newly names is made by the next one, unless the VPC has it", async () => {
    const { ask, make } = await existing();
    const own = [await make("ecs")];
    expect(await ask(true, own)).toMatchObject({ state: "ok", found: expect.stringMatching(/lacks ecs-agent, /) });
    await make("logs");
    expect(await ask(true, own)).toMatchObject({ state: "failed", found: expect.stringMatching(/has logs \(/) });
  });
});
