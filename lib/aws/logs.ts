// What the jobs of a run have said, from CloudWatch Logs.
import {
  CloudWatchLogsClient,
  GetLogEventsCommand,
  paginateDescribeLogStreams,
  ResourceNotFoundException,
} from "@aws-sdk/client-cloudwatch-logs";
import type { LogStream } from "./jobs.ts";

export interface LogLine {
  atMs: number;
  text: string;
}

export class JobLogs {
  private readonly client: CloudWatchLogsClient;
  /** Where the next read of a stream goes on. */
  private readonly tokens = new Map<string, string>();

  constructor(client: CloudWatchLogsClient = new CloudWatchLogsClient({})) {
    this.client = client;
  }

  /** The streams themselves; of a prefix those that exist by now. */
  async resolve(stream: LogStream): Promise<LogStream[]> {
    if (!stream.isPrefix) return [stream];
    const found: LogStream[] = [];
    try {
      const pages = paginateDescribeLogStreams(
        { client: this.client },
        { logGroupName: stream.group, logStreamNamePrefix: stream.stream },
      );
      for await (const { logStreams } of pages)
        for (const { logStreamName } of logStreams ?? [])
          found.push({ ...stream, stream: logStreamName!, isPrefix: false });
    } catch (error) {
      if (!(error instanceof ResourceNotFoundException)) throw error; // nothing of the job has started
    }
    return found;
  }

  /** What the stream has said since the last call; all of it the first time. */
  async next({ group, stream }: LogStream): Promise<LogLine[]> {
    const name = `${group}\n${stream}`;
    const lines: LogLine[] = [];
    for (;;) {
      const nextToken = this.tokens.get(name);
      let page: { events?: { timestamp?: number; message?: string }[]; nextForwardToken?: string };
      try {
        page = await this.client.send(
          new GetLogEventsCommand({
            logGroupName: group,
            logStreamName: stream,
            startFromHead: true,
            ...(nextToken ? { nextToken } : {}),
          }),
        );
      } catch (error) {
        if (error instanceof ResourceNotFoundException) return lines; // named before its first line
        throw error;
      }
      for (const { timestamp, message } of page.events ?? [])
        lines.push({ atMs: timestamp ?? 0, text: (message ?? "").replace(/\n$/, "") });
      // The end of a stream gives back the token that it was asked with.
      if (!page.nextForwardToken || page.nextForwardToken === nextToken) return lines;
      this.tokens.set(name, page.nextForwardToken);
    }
  }
}
