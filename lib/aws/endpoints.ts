// Whether jobs in a network without a way out will reach what they call, and whether the network stack can be deployed.
import { DescribeVpcEndpointsCommand, EC2Client, type VpcEndpoint } from "@aws-sdk/client-ec2";
import { type Deployment, endpointsToCreate, JOB_ENDPOINTS, type JobEndpoint } from "../contracts/deployment.ts";
import { type Check, fail, ok, warn } from "./check.ts";

const CHECK = "VPC endpoints";

/**
 * @param vpcId - the one that is configured, or that the network stack has made
 * @param own - ids of the endpoints that the network stack has; empty before it is deployed
 */
export async function endpointChecks(
  vpc: Deployment["vpc"],
  vpcId: string,
  own: readonly string[],
  client: EC2Client = new EC2Client({}),
): Promise<Check[]> {
  const { VpcEndpoints = [] } = await client.send(
    new DescribeVpcEndpointsCommand({ Filters: [{ Name: "vpc-id", Values: [vpcId] }] }),
  );
  const live = VpcEndpoints.filter(({ State }) => /^(available|pending)/i.test(State ?? ""));
  const network = new EndpointsOfVpc(vpc, vpcId, own, live);
  return [network.refusal ?? network.lack ?? network.coming];
}

class EndpointsOfVpc {
  private readonly vpcId: string;
  private readonly own: readonly string[];
  private readonly live: readonly VpcEndpoint[];
  /** What the configuration has the stack make or keep. */
  private readonly create: readonly JobEndpoint[];
  private readonly routeTables: readonly string[];

  constructor(vpc: Deployment["vpc"], vpcId: string, own: readonly string[], live: readonly VpcEndpoint[]) {
    this.vpcId = vpcId;
    this.own = own;
    this.live = live;
    this.create = endpointsToCreate(vpc);
    this.routeTables = vpc.use === "existing" ? [...new Set(vpc.subnets.map(({ routeTableId }) => routeTableId))] : [];
  }

  /** A failure where a deployment would be rolled back. */
  get refusal(): Check | undefined {
    const taken = this.create.filter((name) => !this.hasOwn(name) && this.conflicting(name));
    if (taken.length === 0) return undefined;
    const free = JOB_ENDPOINTS.filter((name) => !this.conflicting(name));
    const found = taken.map((name) => `${name} (${this.conflicting(name)!.VpcEndpointId})`).join(", ");
    const set = `Set \`vpc.createEndpoints\` to ${free.length > 0 ? JSON.stringify(free) : "false"}: the network stack would be rolled back.`;
    return fail(
      CHECK,
      `${this.vpcId} has ${found} already, and a second one cannot be created`,
      [set, ...(taken.includes("s3") ? this.moreRoutes : [])].join(" "),
    );
  }

  /** A failure where a deployment leaves out what jobs call. */
  get lack(): Check | undefined {
    const { missing } = this;
    if (missing.length === 0) return undefined;
    const moreRoutes = missing.includes("s3") ? this.moreRoutes : [];
    const rest = missing.filter((name) => name !== "s3" || moreRoutes.length === 0);
    const found = missing.map((name) => (name === "s3" ? gatewayIn(this.unrouted) : name)).join(", ");
    const remedies = [
      "Jobs without them cannot start or log.",
      ...(rest.some((name) => !this.create.includes(name))
        ? ["Name them in `vpc.createEndpoints`, or have them made."]
        : []),
      ...(rest.some((name) => this.create.includes(name))
        ? [
            `${this.gone.join(", ")} of the network stack is gone, which CloudFormation does not see:`,
            "deploy with `vpc.createEndpoints` without it, then with it again, or have it made.",
          ]
        : []),
      ...moreRoutes,
    ];
    return fail(CHECK, `${this.vpcId} lacks ${found}`, remedies.join(" "));
  }

  /** What the next deployment makes and removes, where nothing is in its way. */
  get coming(): Check {
    const leaving = JOB_ENDPOINTS.filter(
      (name) => this.hasOwn(name) && !this.create.includes(name) && !this.othersServe(name),
    );
    const found = [
      ...(this.lacking.length > 0
        ? [`${this.vpcId} lacks ${this.lacking.join(", ")}, which \`voxelburst deploy\` makes`]
        : []),
      ...(leaving.length > 0 ? [`\`voxelburst deploy\` removes ${leaving.join(", ")}, which nobody else has`] : []),
    ].join("; ");
    return leaving.length > 0
      ? warn(
          CHECK,
          found,
          "Jobs without them cannot start or log: leave them in `vpc.createEndpoints`, or have them made after it.",
        )
      : ok(CHECK, found || `${this.vpcId} has all ${JOB_ENDPOINTS.length}`);
  }

  private get lacking(): JobEndpoint[] {
    return JOB_ENDPOINTS.filter((name) => !this.hasOwn(name) && !this.othersServe(name));
  }

  /** A deployment makes what the list newly names, and none again that somebody deleted: which one that was, no id tells. */
  private get missing(): JobEndpoint[] {
    return this.gone.length > 0 ? this.lacking : this.lacking.filter((name) => !this.create.includes(name));
  }

  private get gone(): string[] {
    return this.own.filter((id) => !this.live.some(({ VpcEndpointId }) => VpcEndpointId === id));
  }

  private of(name: JobEndpoint): VpcEndpoint[] {
    return this.live.filter((each) => serviceOf(each) === name);
  }

  private others(name: JobEndpoint): VpcEndpoint[] {
    return this.of(name).filter((each) => !this.own.includes(each.VpcEndpointId!));
  }

  private hasOwn(name: JobEndpoint): boolean {
    return this.others(name).length < this.of(name).length;
  }

  private conflicting(name: JobEndpoint): VpcEndpoint | undefined {
    return this.others(name).find((each) => conflicts(each, this.routeTables));
  }

  /** An interface may be found by a private zone of one's own: that it has no private name says nothing. */
  private othersServe(name: JobEndpoint): boolean {
    const isOfKind = this.others(name).some((each) => isGateway(each) === (name === "s3"));
    return isOfKind && (name !== "s3" || this.unrouted.length === 0);
  }

  /** Route tables of the subnets that no gateway of others' for S3 is in. */
  private get unrouted(): string[] {
    return this.routeTables.filter((id) => !this.others("s3").some((each) => conflicts(each, [id])));
  }

  /** For a gateway of others' that is in some of the route tables: the stack can neither share them nor do without. */
  private get moreRoutes(): string[] {
    const gateway = this.conflicting("s3")?.VpcEndpointId;
    const { unrouted } = this;
    if (!gateway || unrouted.length === 0) return [];
    const command = `aws ec2 modify-vpc-endpoint --vpc-endpoint-id ${gateway} --add-route-table-ids ${unrouted.join(" ")}`;
    return [
      `Add ${unrouted.join(", ")} to that gateway (\`${command}\`), and leave s3 out of \`vpc.createEndpoints\`.`,
    ];
  }
}

/** com.amazonaws.us-east-1.ecr.api */
const serviceOf = ({ ServiceName }: VpcEndpoint): string => ServiceName!.split(".").slice(3).join(".");

const isGateway = ({ VpcEndpointType }: VpcEndpoint): boolean => VpcEndpointType === "Gateway";

/**
 * EC2 refuses a second private name of a service in a VPC ("conflicting DNS domain"), and a second route to S3's prefix list
 * in a route table.
 */
const conflicts = (endpoint: VpcEndpoint, routeTables: readonly string[]): boolean =>
  isGateway(endpoint)
    ? routeTables.some((id) => endpoint.RouteTableIds?.includes(id))
    : serviceOf(endpoint) !== "s3" && endpoint.PrivateDnsEnabled === true;

const gatewayIn = (routeTables: readonly string[]): string =>
  routeTables.length > 0 ? `s3 (a gateway in ${routeTables.join(", ")})` : "s3";
