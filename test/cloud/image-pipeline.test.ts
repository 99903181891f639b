// The image's build in the account: what it gets, and when it starts.
import { readFileSync } from "node:fs";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import * as kms from "aws-cdk-lib/aws-kms";
import { beforeAll, describe, expect, it } from "vitest";
import { ImagePipeline } from "../../lib/cloud/image-pipeline.ts";

let template: Template;
let pipeline: ImagePipeline;
beforeAll(() => {
  const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
  context["@aws-cdk/core:validateAgainstDefaultRules"] = false; // test/synth has CDK validate whole apps
  const stack = new Stack(new App({ context }), "Images");
  pipeline = new ImagePipeline(stack, "Image", { encryptionKey: new kms.Key(stack, "Key") });
  template = Template.fromStack(stack);
});

describe("the build of the image, for teams without a Docker engine", () => {
  it("runs Docker on a host whose disk holds NVIDIA's base beside its layers", () => {
    template.hasResourceProperties("AWS::CodeBuild::Project", {
      Environment: { PrivilegedMode: true, ComputeType: "BUILD_GENERAL1_LARGE", Type: "LINUX_CONTAINER" },
      Source: { Type: "S3" },
    });
  });

  it("builds our Dockerfile under the hash of its context, and skips a tag that is there", () => {
    const [project] = Object.values(template.findResources("AWS::CodeBuild::Project"));
    const [look, login, build, push] = JSON.parse(project!.Properties.Source.BuildSpec).phases.build.commands;
    expect(look).toMatch(/^if aws ecr describe-images .*imageTag="\$TAG"; then exit 0; fi$/);
    expect(login).toContain("docker login");
    expect(build).toMatch(/^docker build --file containers\/images\/gpu\.Dockerfile --tag \S+:\$TAG" \.$/);
    expect(push).toMatch(/^docker push /);
    const variables = project!.Properties.Environment.EnvironmentVariables as { Name: string; Value: unknown }[];
    const tag = variables.find(({ Name }) => Name === "TAG")?.Value;
    expect(tag).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(project!.Properties.Source.Location)).toContain(`${tag}.zip`);
    expect(pipeline.image.imageUri).toContain(`:${tag}`);
  });

  it("starts when CloudFormation says that this very stack is done", () => {
    template.hasResourceProperties("AWS::Events::Rule", {
      EventPattern: {
        source: ["aws.cloudformation"],
        detail: {
          "stack-id": [{ Ref: "AWS::StackId" }],
          "status-details": { status: ["CREATE_COMPLETE", "UPDATE_COMPLETE"] },
        },
      },
      Targets: [Match.objectLike({ Arn: { "Fn::GetAtt": [Match.stringLikeRegexp("^ImageBuild"), "Arn"] } })],
    });
  });
});
