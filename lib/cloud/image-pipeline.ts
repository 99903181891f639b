// The image, built in the account by CodeBuild, for teams without a Docker engine. NOT VERIFIED on a real account.
import { CfnOutput, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as codebuild from "aws-cdk-lib/aws-codebuild";
import * as ecr from "aws-cdk-lib/aws-ecr";
import * as events from "aws-cdk-lib/aws-events";
import * as targets from "aws-cdk-lib/aws-events-targets";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import * as logs from "aws-cdk-lib/aws-logs";
import * as s3assets from "aws-cdk-lib/aws-s3-assets";
import { Construct } from "constructs";
import { acknowledge, acknowledgeWildcards } from "./acknowledge.ts";
import { buildContext, DOCKERFILE, type StageImage } from "./container-image.ts";

export interface ImagePipelineProps {
  readonly encryptionKey: kms.IKey;
}

/** NVIDIA's base and our packages are some 10 GiB to pull, unpack and push; it takes well under an hour. */
const BUILD_MAX = Duration.hours(2);
/** Images of the last deployments, for a rollback. */
const KEPT_IMAGES = 5;

export class ImagePipeline extends Construct {
  readonly image: StageImage;
  readonly project: codebuild.Project;

  constructor(scope: Construct, id: string, props: ImagePipelineProps) {
    super(scope, id);
    const repository = new ecr.Repository(this, "Repository", {
      encryption: ecr.RepositoryEncryption.KMS,
      encryptionKey: props.encryptionKey,
      imageScanOnPush: true,
      // The tag is the hash of what the image is made of: another content is another tag.
      imageTagMutability: ecr.TagMutability.IMMUTABLE,
      lifecycleRules: [{ maxImageCount: KEPT_IMAGES }],
      removalPolicy: RemovalPolicy.DESTROY,
      emptyOnDelete: false,
    });
    const context = new s3assets.Asset(this, "Context", buildContext());
    const tag = context.assetHash;
    this.image = {
      imageUri: repository.repositoryUriForTag(tag),
      repository,
    };
    this.project = this.createProject(repository, context, props.encryptionKey);
    this.buildAfterDeployment();
    new CfnOutput(this, "Project", { value: this.project.projectName, description: "builds the container image" });
  }

  private createProject(
    repository: ecr.IRepository,
    context: s3assets.Asset,
    encryptionKey: kms.IKey,
  ): codebuild.Project {
    const logGroup = new logs.LogGroup(this, "Logs");
    const project = new codebuild.Project(this, "Build", {
      description: "voxelburst: the container image of the stages",
      role: this.createRole(repository, context, logGroup, encryptionKey),
      grantReportGroupPermissions: false,
      source: codebuild.Source.s3({ bucket: context.bucket, path: context.s3ObjectKey }),
      environment: {
        buildImage: codebuild.LinuxBuildImage.STANDARD_7_0,
        computeType: codebuild.ComputeType.LARGE, // 128 GB of disk, which NVIDIA's base needs
        privileged: true,
      },
      environmentVariables: {
        REGISTRY: { value: repository.registryUri },
        REPOSITORY: { value: repository.repositoryName },
        TAG: { value: context.assetHash },
      },
      buildSpec: codebuild.BuildSpec.fromObject({
        version: "0.2",
        phases: {
          build: {
            commands: [
              'if aws ecr describe-images --repository-name "$REPOSITORY" --image-ids imageTag="$TAG"; then exit 0; fi',
              'aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"',
              `docker build --file ${DOCKERFILE} --tag "$REGISTRY/$REPOSITORY:$TAG" .`,
              'docker push "$REGISTRY/$REPOSITORY:$TAG"',
            ],
          },
        },
      }),
      encryptionKey,
      timeout: BUILD_MAX,
      concurrentBuildLimit: 1,
      logging: { cloudWatch: { logGroup } },
    });
    acknowledge(project, {
      "AwsSolutions-CB3":
        "docker build needs a privileged container; it builds our own context, and nobody else starts it",
      "HIPAA.Security-CodeBuildProjectSourceRepoUrl":
        "its source is an archive in the account's own bucket, no repository",
    });
    return project;
  }

  /** In place of CDK's grants, which allow every action on the bucket that begins with Get or List. */
  private createRole(
    repository: ecr.IRepository,
    context: s3assets.Asset,
    logGroup: logs.ILogGroup,
    encryptionKey: kms.IKey,
  ): iam.IRole {
    const role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("codebuild.amazonaws.com"),
      description: "What the build of the container image may do",
    });
    const allow = (actions: string[], ...resources: string[]) =>
      role.addToPolicy(new iam.PolicyStatement({ actions, resources }));
    allow(["s3:GetObject", "s3:GetObjectVersion"], context.bucket.arnForObjects(context.s3ObjectKey));
    allow(["s3:GetBucketAcl", "s3:GetBucketLocation"], context.bucket.bucketArn);
    allow(["logs:CreateLogStream", "logs:PutLogEvents"], logGroup.logGroupArn);
    allow(["kms:Decrypt", "kms:GenerateDataKey"], encryptionKey.keyArn);
    allow(["ecr:GetAuthorizationToken"], "*");
    allow(
      [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
      ],
      repository.repositoryArn,
    );
    acknowledgeWildcards(role, [
      ["*", "ecr:GetAuthorizationToken has no resources"],
      [logGroup.logGroupArn, "the streams of the group, which get their names with the builds"],
    ]);
    return role.withoutPolicyUpdates();
  }

  /** CloudFormation tells EventBridge when this very stack is done: no function that would wait for a build. */
  private buildAfterDeployment(): void {
    new events.Rule(this, "Deployed", {
      description: "The stack was deployed: build the image, unless its tag exists",
      eventPattern: {
        source: ["aws.cloudformation"],
        detailType: ["CloudFormation Stack Status Change"],
        detail: {
          "stack-id": [Stack.of(this).stackId],
          "status-details": { status: ["CREATE_COMPLETE", "UPDATE_COMPLETE"] },
        },
      },
      targets: [new targets.CodeBuildProject(this.project)],
    });
  }
}
