// Container images that `cdk deploy` put into CDK's bootstrap repository: they belong to no stack, and stay.
import { ECRClient, type ImageDetail, paginateDescribeImages } from "@aws-sdk/client-ecr";
import type { Bill } from "./bills.ts";

/**
 * ECR's pricing page, November 2026: storage in private repositories, a GB and month, in every commercial region. It
 * bills what images have compressed, layers that several share once: sums over images are the most that they bill.
 */
const USD_PER_GB_MONTH = 0.1;

/** A repository of assets and the tag of one, as `cdk synth` writes both into a template. */
const ASSET = /\/(cdk-[a-z0-9]+-container-assets-[a-z0-9-]+):([0-9a-f]{64})/g;

interface DeployedTemplate {
  /** Its ARN names the region and account that the template leaves open. */
  stackId: string;
  body: string;
}

/**
 * Every image in the bootstrap repositories that the templates name: theirs one by one, the others (of earlier
 * deployments, or of other CDK applications: nothing tells them apart) as one line a repository.
 *
 * @throws what ECR says, unless the repository is gone
 */
export async function assetImages(templates: readonly DeployedTemplate[]): Promise<Bill[]> {
  const named = new Map<string, Set<string>>();
  for (const { stackId, body } of templates) {
    const [, , , region, account] = stackId.split(":");
    const pseudo: Record<string, string> = { AccountId: account!, Region: region! };
    const resolved = body.replaceAll(/\$\{AWS::(AccountId|Region)\}/g, (_, name: string) => pseudo[name]!);
    for (const [, repository, tag] of resolved.matchAll(ASSET))
      named.set(repository!, (named.get(repository!) ?? new Set()).add(tag!));
  }
  const bills: Bill[] = [];
  for (const [repository, tags] of named) {
    const isOurs = ({ imageTags = [] }: ImageDetail) => imageTags.some((tag) => tags.has(tag));
    const images = await imagesIn(repository);
    for (const image of images.filter(isOurs))
      bills.push({
        what: "ECR image (CDK asset)",
        id: `${repository}:${image.imageTags!.find((tag) => tags.has(tag))}`,
        why: `${monthly([image])}; no stack owns it`,
        goes: false,
      });
    const others = images.filter((image) => !isOurs(image));
    if (others.length > 0)
      bills.push({
        what: `ECR images (CDK assets), ${others.length} others`,
        id: repository,
        why: `${monthly(others)}; of earlier deployments, or of other CDK applications`,
        goes: false,
      });
  }
  return bills;
}

function monthly(images: readonly ImageDetail[]): string {
  const gigabytes = images.reduce((sum, { imageSizeInBytes = 0 }) => sum + imageSizeInBytes, 0) / 1e9;
  return `${(gigabytes * USD_PER_GB_MONTH).toFixed(2)} USD a month for ${gigabytes.toFixed(1)} GB`;
}

async function imagesIn(repositoryName: string): Promise<ImageDetail[]> {
  const images: ImageDetail[] = [];
  try {
    for await (const page of paginateDescribeImages({ client: new ECRClient({}) }, { repositoryName }))
      images.push(...(page.imageDetails ?? []));
  } catch (error) {
    if ((error as Error).name !== "RepositoryNotFoundException") throw error;
  }
  return images;
}
