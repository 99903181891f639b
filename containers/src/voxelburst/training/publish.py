"""The model folder that a training leaves: weights, what they are, and under which licence."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from torch import nn

from .. import contract, model_card, model_folder, models, paths
from ..contract import EngineFile, Plan, TrainTask
from ..storage import Store

CARD_FILE = "MODEL_CARD.md"


def publish(
    artefacts: Store, task: TrainTask, plan: Plan, network: nn.Module, *, steps: int, precision: str
) -> str:
    """Writes the folder below the task's output prefix, and into SageMaker's model folder where there is one.

    Returns:
        the SHA-256 of the weights' file.
    """
    with tempfile.TemporaryDirectory(prefix="voxelburst-train-") as temporary:
        folder = Path(temporary)
        models.save_weights(network, folder / models.WEIGHTS_FILE)
        (folder / "plan.json").write_bytes(artefacts.read(task.plan_key))
        (folder / "LICENSE").write_text(model_card.licence(plan))
        (folder / CARD_FILE).write_text(_card(task, plan, network, steps, precision))
        names = sorted(path.name for path in folder.iterdir())
        document = model_folder.of_plan(
            plan,
            name=f"{task.dataset}-{task.fold}-{task.strategy}",
            version=task.version,
            run_id=task.run_id,
            fold=task.fold,
            strategy=task.strategy,
            engines=[EngineFile(engine="torch", precision="fp32")],
            files=model_folder.checksums(folder, names),
        )
        described = json.dumps(contract.to_json(document), indent=1) + "\n"
        (folder / model_folder.MODEL_FILE).write_text(described)
        if paths.in_training_job():
            shutil.copytree(folder, paths.model(), dirs_exist_ok=True)
        for name in (*names, model_folder.MODEL_FILE):  # last: its checksums cover the others
            artefacts.write(f"{task.output_prefix}{name}", (folder / name).read_bytes())
        return document.files[models.WEIGHTS_FILE]


def _card(task: TrainTask, plan: Plan, network: nn.Module, steps: int, precision: str) -> str:
    members = next((f for f in plan.folds if f.name == task.fold), None)
    trained = f"{len(members.train)} cases, {len(members.validation)} held out" if members else "not recorded"
    return f"""# {task.dataset}-{task.fold}-{task.strategy}

Weights of a training of run {task.run_id}, not yet scored: compile makes the folder that is deployed from
them, with the engine's parity in its card, and the run's report has the scores of every validation case.

| | |
|---|---|
| Dataset | {" ".join(plan.dataset.name.replace("|", " ").split())} |
| Fold | {task.fold}: {trained} |
| Network | {plan.network.model}, {models.parameter_count(network):,} parameters |
| Training | {steps:,} steps of batch {plan.batch} in {precision}, {task.strategy}, seed {plan.seed} |
| Weights | the last checkpoint, not the best on the held-out cases |

Intended use: research and engineering. It is no medical device. LICENSE has the terms of the data.
"""
