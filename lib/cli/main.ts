// The command line: parses arguments, runs one command, and turns its errors into a sentence and an exit code.
import { Command, CommanderError, Option } from "commander";
import { VoxelburstError } from "../contracts/index.ts";
import { diskError } from "../local/disk-error.ts";
import { FAULTS } from "../local/faults.ts";
import { softwareVersion } from "../local/software-version.ts";
import { Workbench } from "../local/workbench.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { bench } from "./commands/bench.ts";
import { cancel } from "./commands/cancel.ts";
import { cost } from "./commands/cost.ts";
import { demo } from "./commands/demo.ts";
import { type DeployOptions, deploy, destroy, diff } from "./commands/deploy.ts";
import { doctor } from "./commands/doctor.ts";
import { init } from "./commands/init.ts";
import { logs } from "./commands/logs.ts";
import { plan } from "./commands/plan.ts";
import { predict } from "./commands/predict.ts";
import { ps } from "./commands/ps.ts";
import { report } from "./commands/report.ts";
import { resume } from "./commands/resume.ts";
import { run } from "./commands/run.ts";
import { validate } from "./commands/validate.ts";
import { watch } from "./commands/watch.ts";
import { EXIT, exitCodeOfError } from "./exit-codes.ts";
import { note } from "./messages.ts";
import { onAws } from "./on-aws.ts";
import { Renderer } from "./renderer.ts";
import { usageError } from "./usage-error.ts";

type Work = (context: CommandContext) => Promise<CommandResult>;

const collect = (value: string, before: string[]) => [...before, value];

/**
 * @param argv - the arguments after the program's name
 * @returns the exit code
 */
export async function main(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.done;
  // Whoever reads the output may leave early (`| head`); the run goes on.
  for (const stream of [process.stdout, process.stderr])
    if (stream.listenerCount("error") === 0) stream.on("error", ignoreClosedPipe);
  const program = build(async (work, command) => {
    exitCode = await perform(work, command.optsWithGlobals());
  });
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    // --help and --version end this way too, with 0; without any command the help has been written to stderr.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (error instanceof VoxelburstError) return sayError(rendererOf(program.opts()), error);
    throw error;
  }
  return exitCode;
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

function build(perform: (work: Work, command: Command) => Promise<void>): Command {
  const refuse = (command: string) => (error: CommanderError) => {
    if (error.exitCode === 0 || (error.code === "commander.help" && !program.opts().json)) throw error;
    throw usageError(error, command);
  };
  const program: Command = new Command("voxelburst");
  program
    .description("A labelled set of CT or MR volumes becomes a trained, compiled segmentation model and a report.")
    .version(softwareVersion())
    .option("--json", "one JSON object on stdout, prose on stderr")
    .option("--debug", "errors with their stack trace")
    // An error of the parser's is said as all others are; help that was asked for is written as it is.
    .configureOutput({ outputError: () => undefined })
    .exitOverride(refuse("voxelburst"))
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 usage, 2 run failed, 3 invalid dataset or recipe, 4 over budget, 5 no capacity, 6 regression, 130 cancelled.\nRuns live in .voxelburst of the working directory or the nearest one above it; VOXELBURST_HOME names another.",
    );
  const add = (usage: string, description: string) =>
    program
      .command(usage)
      .description(description)
      .exitOverride(refuse(`voxelburst ${usage.split(" ")[0]}`));
  const withRecipe = (command: Command) =>
    command
      .option("--recipe <file>", "in place of recipe.yaml in the dataset")
      .option(
        "--set <field=value>",
        "a field of the recipe, for example train.minutes=10; may be repeated",
        collect,
        [],
      );

  const onEither = (command: Command) =>
    command.addOption(
      new Option("--on <where>", "this machine, or the deployment in the AWS account of the profile and region")
        .choices(["local", "aws"])
        .default("local"),
    );

  /** @param there - loads its module when it is asked for: the SDK takes a while */
  const performOn = (on: "local" | "aws", here: Work, there: Work, command: Command) =>
    perform(on === "aws" ? (context) => onAws(() => there(context)) : here, command);

  add("init <folder>", "pair images with labels; write dataset.json and a commented recipe.yaml")
    .option("--force", "write over a dataset.json that is there")
    .action((folder, options, command) => perform((context) => init(context, folder, options), command));
  withRecipe(add("validate <dataset>", "check a dataset and its recipe without training")).action(
    (dataset, options, command) => perform((context) => validate(context, dataset, options), command),
  );
  withRecipe(add("plan <dataset>", "ingest and plan; print the plan and its estimate")).action(
    (dataset, options, command) => perform((context) => plan(context, dataset, options), command),
  );
  onEither(withRecipe(add("run <dataset>", "train, compile, infer and report")))
    .option("--again", "even if this very content has succeeded: nothing that is timed is skipped")
    .option(
      "--inject <fault@stage:count>",
      `make something go wrong: ${FAULTS.join(", ")}; may be repeated`,
      collect,
      [],
    )
    .action((dataset, options, command) =>
      performOn(
        options.on,
        (context) => run(context, dataset, options),
        async (context) => (await import("./commands/aws/run.ts")).run(context, dataset, options),
        command,
      ),
    );
  add("predict <paths...>", "segment new images with a model folder, or with those of several folds")
    .usage(
      "MODEL IMAGES... --out DIR [options]\n       voxelburst predict --model MODEL [--model MODEL ...] IMAGES... --out DIR",
    )
    .requiredOption("--out <folder>", "where the masks go")
    .option(
      "--model <folder>",
      "a model folder, in place of the first argument; repeated, the mean of their logits decides",
      collect,
      [],
    )
    .option("--engine <name>", "of the model folders; default: the one that each was compiled for")
    .action((paths, options, command) => perform((context) => predict(context, paths, options), command));
  onEither(add("watch [run]", "follow a run; default: the latest")).action((wanted, { on }, command) =>
    performOn(
      on,
      (context) => watch(context, wanted),
      async (context) => (await import("./commands/aws/watch.ts")).watch(context, wanted),
      command,
    ),
  );
  add("resume [run]", "go on with a run that was killed, cancelled or failed; default: the latest").action(
    (wanted, _options, command) => perform((context) => resume(context, wanted), command),
  );
  onEither(add("ps", "list the runs")).action(({ on }, command) =>
    performOn(
      on,
      (context) => ps(context),
      async (context) => (await import("./commands/aws/ps.ts")).ps(context),
      command,
    ),
  );
  onEither(add("logs [run] [stage]", "what the processes of a run have said")).action(
    (wanted, stage, { on }, command) =>
      performOn(
        on,
        (context) => logs(context, wanted, stage),
        async (context) => (await import("./commands/aws/logs.ts")).logs(context, wanted, stage),
        command,
      ),
  );
  onEither(add("report [run]", "the table of a run and the path of its report; default: the latest"))
    .option("--open", "open the report in a browser")
    .action((wanted, options, command) =>
      performOn(
        options.on,
        (context) => report(context, wanted, options),
        async (context) => (await import("./commands/aws/report.ts")).report(context, wanted),
        command,
      ),
    );
  onEither(add("cost [run]", "what a run cost, or would have; default: the latest"))
    .option(
      "--refresh-prices [region]",
      "renew the price table from AWS's Price List API; default: the deployment's region",
    )
    .action((wanted, { on, refreshPrices }, command) =>
      refreshPrices
        ? perform(
            (context) =>
              onAws(async () => (await import("./commands/aws/refresh-prices.ts")).refresh(context, refreshPrices)),
            command,
          )
        : performOn(
            on,
            (context) => cost(context, wanted),
            async (context) => (await import("./commands/aws/cost.ts")).cost(context, wanted),
            command,
          ),
    );
  withRecipe(add("bench [dataset]", "time the ladder: on phantoms step by step, on a dataset with whole trainings"))
    .option("--strategies <names>", "default: fp32,amp,dali,fused")
    .option("--gpus <counts>", "of ddp on phantoms, such as 1,2,4,8; default: all; without a GPU processes")
    .option("--engines <names>", "default: none on phantoms, all of this machine on a dataset")
    .option("--augmentations <names>", "mlperf, recipe; default: both (phantoms)")
    .option(
      "--without <names>",
      "rows of fused without graph, gpu-loader, residence, stem, upsample, fused-norm, channels-last, compile",
    )
    .option("--size <voxels>", "of the phantoms: an edge or d,h,w; default 192")
    .option("--patch <voxels>", "an edge or d,h,w; default 128")
    .option("--cases <number>", "phantoms; default 4")
    .option("--batch <number>", "default 8")
    .option("--width <features>", "of the first stage; default 32")
    .option("--precision <type>", "of all strategies but fp32: bf16 or fp16")
    .option("--warm-up <steps>", "before anything is timed; default 12")
    .option("--steps <number>", "timed ones, at least; default 30")
    .option("--seconds <number>", "timed, at least; default 3")
    .option("--profile", "where the milliseconds of a fused step go (GPU)")
    .option("--compare <peers>", "nnunet, monai: the same on this machine, in environments of their own")
    .option("--against <file>", "earlier results: repeats interleaved; ends with 6 when speed or Dice fell")
    .option("--tolerance <share>", "of the speed that may be lost", "5%")
    .option("--dice-tolerance <value>", "by which the mean Dice may fall", "0.01")
    .option("--repeats <rounds>", "default: 1, with --against 3")
    .option("--priced-as <type>", "instance type that dollars are of", "p5.4xlarge")
    .option("--out <file>", "default: in .voxelburst/bench")
    .action((dataset, options, command) => perform((context) => bench(context, dataset, options), command));
  onEither(add("cancel <run>", "end a run and whatever of it still runs")).action((wanted, { on }, command) =>
    performOn(
      on,
      (context) => cancel(context, wanted),
      async (context) => (await import("./commands/aws/cancel.ts")).cancel(context, wanted),
      command,
    ),
  );
  onEither(add("doctor", "check whether this machine, or this account, can run the workflow"))
    .option("--config <file>", "of the deployment; default: `voxelburst` in cdk.json")
    .action((options, command) =>
      performOn(
        options.on,
        (context) => doctor(context),
        async (context) => (await import("./commands/aws/doctor.ts")).doctor(context, options),
        command,
      ),
    );
  const withStacks = (command: Command) =>
    command.option("--config <file>", "of the deployment; default: `voxelburst` in cdk.json");
  const onStacks =
    (work: (context: CommandContext, options: DeployOptions) => Promise<CommandResult>) =>
    (options: DeployOptions, command: Command) =>
      perform((context) => onAws(() => work(context, options)), command);
  withStacks(add("deploy", "make the stacks in the AWS account of the profile and region"))
    .option("--yes", "do not ask about changes of permissions")
    .action(onStacks(deploy));
  withStacks(add("diff", "what deploy would change")).action(onStacks(diff));
  withStacks(add("destroy", "remove the stacks, and list what still bills"))
    .option("--verify", "remove nothing: list what would still bill without the stacks")
    .option("--yes", "do not ask")
    .action(onStacks(destroy));
  withRecipe(add("demo", "generate phantoms and run the whole workflow on them"))
    .option("--seed <number>", "of the phantoms", "1")
    .option("--out <folder>", "where the phantoms go; default: in .voxelburst")
    .option("--again", "even if the demo has succeeded before")
    .action((options, command) => perform((context) => demo(context, options), command));
  return program;
}

interface GlobalOptions {
  json?: boolean;
  debug?: boolean;
}

function rendererOf({ json = false, debug = Boolean(process.env.VOXELBURST_DEBUG) }: GlobalOptions): Renderer {
  return new Renderer({ out: process.stdout, err: process.stderr, json, debug });
}

/** @returns its exit code */
function sayError(renderer: Renderer, thrown: unknown): number {
  const error = asCoded(thrown);
  renderer.emit({
    kind: "error",
    code: error.code,
    text: error.message,
    remedy: error.remedy,
    stack: stackOf(thrown),
  });
  renderer.result({ status: "failed", error: error.toDocument() });
  return exitCodeOfError(error);
}

async function perform(work: Work, options: GlobalOptions): Promise<number> {
  const renderer = rendererOf(options);
  const cancel = new AbortController();
  const onSignal = () => {
    // The second one is for a person who does not want to wait: the launcher ends every process with this one.
    if (cancel.signal.aborted) process.exit(EXIT.cancelled);
    renderer.emit(note("Cancelling", "cancelling: what runs may write its checkpoint; Ctrl-C again ends it at once"));
    cancel.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  let opened: Workbench | undefined;
  const context: CommandContext = {
    emit: renderer.emit,
    signal: cancel.signal,
    get workbench() {
      opened ??= new Workbench();
      return opened;
    },
  };
  try {
    const result = await work(context);
    renderer.result(result.json);
    return cancel.signal.aborted ? EXIT.cancelled : result.exitCode;
  } catch (thrown) {
    const exitCode = sayError(renderer, thrown);
    return cancel.signal.aborted ? EXIT.cancelled : exitCode;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

/** Whatever was thrown, as an error with a code: a full disk can be met anywhere, a defect has to be reported. */
function asCoded(thrown: unknown): VoxelburstError {
  const known = diskError(thrown, "the run's data");
  if (known instanceof VoxelburstError) return known;
  const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new VoxelburstError(
    "InternalError",
    `Something went wrong that should not: ${text.split("\n")[0]}`,
    "Run it again with --debug and report the stack trace.",
    { cause: thrown },
  );
}

function stackOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const cause = thrown.cause instanceof Error ? `\ncaused by ${thrown.cause.stack}` : "";
  return `${thrown.stack}${cause}`;
}
