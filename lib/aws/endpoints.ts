// Whether jobs in a network without a way out will reach what they call, and whether the network stack can be deployed.
import { DescribeVpcEndpointsCommand, EC2Client, type VpcEndpoint } from "@aws-sdk/client-ec2";
import { type Deployment, endpointsToCreate, JOB_ENDPOINTS, type JobEndpoint } from "../contracts/deployment.ts";
import { type Check, fail, ok } from "./check.ts";

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
  const of = (name: JobEndpoint) => live.filter((each) => serviceOf(each) === name);
  const create = endpointsToCreate(vpc);
  const routeTables = vpc.use === "existing" ? vpc.subnets.map(({ routeTableId }) => routeTableId) : [];

  const others = (name: JobEndpoint) => of(name).filter((each) => !own.includes(each.VpcEndpointId!));
  const hasOwn = (name: JobEndpoint) => others(name).length < of(name).length;

  const taken = create
    .filter((name) => !hasOwn(name))
    .flatMap((name) => {
      const other = others(name).find((each) => conflicts(each, routeTables));
      return other ? [`${name} (${other.VpcEndpointId})`] : [];
    });
  if (taken.length > 0) {
    const free = JOB_ENDPOINTS.filter((name) => !others(name).some((each) => conflicts(each, routeTables)));
    return [
      fail(
        CHECK,
        `${vpcId} has ${taken.join(", ")} already, and a second one cannot be created`,
        `Set \`vpc.createEndpoints\` to ${free.length > 0 ? JSON.stringify(free) : "false"}: the network stack would be rolled back.`,
      ),
    ];
  }

  const lacking = JOB_ENDPOINTS.filter(
    (name) => !hasOwn(name) && !others(name).some((each) => serves(each, routeTables)),
  );
  // A stack that has as many as it should makes none again that somebody deleted.
  const coming = own.length >= create.length ? [] : lacking.filter((name) => create.includes(name));
  const missing = lacking.filter((name) => !coming.includes(name));
  if (missing.length > 0)
    return [
      fail(
        CHECK,
        `${vpcId} lacks ${missing.map((name) => (name === "s3" ? gatewayIn(routeTables) : name)).join(", ")}`,
        "Jobs without them cannot start or log: name them in `vpc.createEndpoints`, or have them made.",
      ),
    ];
  return [
    ok(
      CHECK,
      coming.length > 0
        ? `${vpcId} lacks ${coming.join(", ")}, which \`voxelburst deploy\` makes`
        : `${vpcId} has all ${JOB_ENDPOINTS.length}`,
    ),
  ];
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

/** An interface may be found by a private zone of one's own: that it has no private name says nothing. */
const serves = (endpoint: VpcEndpoint, routeTables: readonly string[]): boolean =>
  serviceOf(endpoint) === "s3"
    ? isGateway(endpoint) && routeTables.every((id) => endpoint.RouteTableIds?.includes(id))
    : !isGateway(endpoint);

const gatewayIn = (routeTables: readonly string[]): string =>
  routeTables.length > 0 ? `s3 (a gateway in ${[...new Set(routeTables)].join(", ")})` : "s3";
