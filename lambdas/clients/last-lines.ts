// When a log was last written to. The streams' own lastEventTimestamp may be an hour old; their last line is not.
import {
  CloudWatchLogsClient,
  GetLogEventsCommand,
  paginateDescribeLogStreams,
  ResourceNotFoundException,
} from "@aws-sdk/client-cloudwatch-logs";

export class LastLines {
  private readonly client: CloudWatchLogsClient;

  constructor(client = new CloudWatchLogsClient({})) {
    this.client = client;
  }

  /** undefined when nothing was written yet. */
  async lastMs(logGroupName: string, logStreamName: string): Promise<number | undefined> {
    try {
      const last = await this.client.send(
        new GetLogEventsCommand({ logGroupName, logStreamName, limit: 1, startFromHead: false }),
      );
      return last.events?.at(-1)?.timestamp;
    } catch (error) {
      if (error instanceof ResourceNotFoundException) return undefined;
      throw error;
    }
  }

  /** Of every stream whose name begins so: a training has one an instance. */
  async lastMsOfAll(logGroupName: string, logStreamNamePrefix: string): Promise<number | undefined> {
    const times: number[] = [];
    try {
      for await (const page of paginateDescribeLogStreams(
        { client: this.client },
        { logGroupName, logStreamNamePrefix },
      ))
        for (const { logStreamName } of page.logStreams ?? [])
          times.push((await this.lastMs(logGroupName, logStreamName!)) ?? 0);
    } catch (error) {
      if (!(error instanceof ResourceNotFoundException)) throw error;
    }
    const last = Math.max(0, ...times);
    return last === 0 ? undefined : last;
  }
}
