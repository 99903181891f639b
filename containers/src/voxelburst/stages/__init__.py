"""One module a stage: run(task, stage) -> result, each reads from top to bottom."""
