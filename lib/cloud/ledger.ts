// The ledger: a table of what runs and months have spent and hold, and the two functions that the state machine asks.
import { Annotations, RemovalPolicy } from "aws-cdk-lib";
import * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import { Construct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";
import { PRICES_DATE, PRICES_REGION } from "../contracts/prices.ts";
import { FUNCTION_SECONDS } from "../stages/limits.ts";
import type { Buckets } from "../stages/stage-context.ts";
import { acknowledge, acknowledgeWildcards } from "./acknowledge.ts";
import { BundledFunction } from "./bundled-function.ts";
import { allowJobs } from "./job-access.ts";

export interface LedgerProps {
  readonly deployment: Pick<Deployment, "budgets" | "fleets" | "region" | "removalPolicy">;
  readonly buckets: Buckets;
  readonly encryptionKey: kms.IKey;
}

const HOLD = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"];

export class Ledger extends Construct {
  readonly table: dynamodb.Table;
  readonly reserve: BundledFunction;
  readonly settle: BundledFunction;
  /** VOXELBURST_LEDGER, as lambdas/clients/ledger-ports.ts reads it. */
  readonly settings: string;
  private readonly props: LedgerProps;

  constructor(scope: Construct, id: string, props: LedgerProps) {
    super(scope, id);
    this.props = props;
    this.table = this.renderTable();
    const { budgets, region } = props.deployment;
    if (region !== undefined && region !== PRICES_REGION) this.warnOfPrices(region);
    this.settings = JSON.stringify({
      table: this.table.tableName,
      caps: { runUsd: budgets.maxUsdPerRun, monthUsd: budgets.maxUsdPerMonth },
    });
    this.reserve = this.addFunction("reserve", "before a job starts, the most that it can cost is held");
    this.allowRecipes(this.reserve);
    this.settle = this.addFunction("settle", "what a job did cost takes the place of what was held");
    this.allow(this.reserve, [...HOLD, "dynamodb:DeleteItem"]);
    this.allowHoldAndSettle(this.settle);
    for (const each of [this.reserve, this.settle]) {
      allowJobs(each.role as iam.Role);
    }
  }

  /** Where no region is configured, only `voxelburst doctor --on aws` can know. */
  private warnOfPrices(region: string): void {
    Annotations.of(this).addWarningV2(
      "voxelburst:pricesOfAnotherRegion",
      `The price table is of ${PRICES_REGION} (${PRICES_DATE}) and the deployment is for ${region}: budgets and the report would count another region's dollars. \`voxelburst cost --refresh-prices ${region}\` renews it; usdPerHour of a fleet says more than the table.`,
    );
  }

  /** Holding: what start-run does for ingest. */
  allowHold(grantee: iam.IGrantable): void {
    this.allow(grantee, HOLD);
  }

  /** Holding, and putting what was spent in a hold's place. */
  allowHoldAndSettle(grantee: iam.IGrantable): void {
    this.allow(grantee, [...HOLD, "dynamodb:DeleteItem", "dynamodb:Query"]);
  }

  /** What a run was settled at and still holds: no account, and no change. */
  allowRead(grantee: iam.IGrantable): void {
    this.allow(grantee, ["dynamodb:Query"], {
      "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["spent#*", "held"] },
    });
  }

  /** A transaction is allowed by its parts; the table's own key is decrypted in its caller's name. */
  private allow(grantee: iam.IGrantable, actions: string[], conditions: iam.Conditions = {}): void {
    const { grantPrincipal } = grantee;
    grantPrincipal.addToPrincipalPolicy(
      new iam.PolicyStatement({ actions, resources: [this.table.tableArn], conditions }),
    );
    grantPrincipal.addToPrincipalPolicy(
      new iam.PolicyStatement({ actions: ["kms:Decrypt"], resources: [this.props.encryptionKey.keyArn] }),
    );
  }

  /** A run's recipe is written before anything is reserved for it: nobody asks whether it is there. */
  private allowRecipes(grantee: iam.IGrantable): void {
    const recipes = this.props.buckets.artefacts.arnForObjects("runs/*/recipe.json");
    grantee.grantPrincipal.addToPrincipalPolicy(
      new iam.PolicyStatement({ actions: ["s3:GetObject"], resources: [recipes] }),
    );
    acknowledgeWildcards(this.reserve.role as iam.Role, [[recipes, "a run gets its name after the deployment"]]);
  }

  private addFunction(verb: "reserve" | "settle", does: string): BundledFunction {
    return new BundledFunction(this, verb === "reserve" ? "Reserve" : "Settle", {
      verb,
      description: `voxelburst ${verb}: ${does}`,
      timeoutSeconds: FUNCTION_SECONDS.ledger,
      memoryMiB: 512,
      environment: { VOXELBURST_LEDGER: this.settings },
    });
  }

  private renderTable(): dynamodb.Table {
    const isKept = this.props.deployment.removalPolicy === "retain";
    const table = new dynamodb.Table(this, "Table", {
      partitionKey: { name: "pk", type: dynamodb.AttributeType.STRING },
      sortKey: { name: "sk", type: dynamodb.AttributeType.STRING },
      billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
      encryption: dynamodb.TableEncryption.CUSTOMER_MANAGED,
      encryptionKey: this.props.encryptionKey,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: isKept,
      removalPolicy: isKept ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    acknowledge(table, {
      "HIPAA.Security-DynamoDBInBackupPlan": "point-in-time recovery goes back 35 days, and no month matters longer",
    });
    return table;
  }
}
