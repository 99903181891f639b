// Who is told: runs, alarms, budgets and refusals go to one encrypted topic, and from it to people and endpoints.
import type * as kms from "aws-cdk-lib/aws-kms";
import * as sns from "aws-cdk-lib/aws-sns";
import * as subscriptions from "aws-cdk-lib/aws-sns-subscriptions";
import type { Construct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";

export interface NotificationsProps {
  /** Its policy admits the services that publish (storage.ts). */
  readonly encryptionKey: kms.IKey;
  readonly targets: Deployment["notifications"];
}

export class Notifications extends sns.Topic {
  constructor(scope: Construct, id: string, { encryptionKey, targets }: NotificationsProps) {
    super(scope, id, { masterKey: encryptionKey, enforceSSL: true });
    for (const email of targets.emails) this.addSubscription(new subscriptions.EmailSubscription(email));
    for (const url of targets.httpsUrls) this.addSubscription(new subscriptions.UrlSubscription(url));
  }
}
