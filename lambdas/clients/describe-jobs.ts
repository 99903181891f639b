// What Batch knows of jobs by their ids, array children and nodes among them.
import { type BatchClient, DescribeJobsCommand, type JobDetail } from "@aws-sdk/client-batch";

/** DescribeJobs takes at most so many ids. */
const DESCRIBED_AT_ONCE = 100;

/** Jobs that Batch has forgotten, a week after their end, are left out. */
export async function describeJobs(client: BatchClient, ids: readonly string[]): Promise<JobDetail[]> {
  const details: JobDetail[] = [];
  for (let at = 0; at < ids.length; at += DESCRIBED_AT_ONCE) {
    const jobs = ids.slice(at, at + DESCRIBED_AT_ONCE);
    details.push(...((await client.send(new DescribeJobsCommand({ jobs }))).jobs ?? []));
  }
  return details;
}
