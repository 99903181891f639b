// A process that holds one handler, as Lambda's do: one call after the other, from a line of its input to a line of its
// channel. What the handler prints is nobody's.
const [bundle, verb] = process.argv.slice(2);
const { handler } = (await import(bundle!)) as { handler: (event: unknown, context: object) => Promise<unknown> };
process.send!({ ready: true });
process.on("message", async ({ id, event, remainingMs }: { id: number; event: unknown; remainingMs: number }) => {
  const endMs = Date.now() + remainingMs;
  const context = {
    functionName: verb,
    awsRequestId: String(id),
    memoryLimitInMB: "512",
    getRemainingTimeInMillis: () => endMs - Date.now(),
  };
  try {
    process.send!({ id, result: (await handler(event, context)) ?? null });
  } catch (error) {
    const { name, message } = error as Error;
    process.send!({ id, error: { name, message } });
  }
});
