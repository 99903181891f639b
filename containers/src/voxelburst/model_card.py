"""MODEL_CARD.md and LICENSE of a model folder: what a person must know before using the model."""

from __future__ import annotations

from .contract import EngineFile, Host, Parity, Plan, TrainResult


def licence(plan: Plan) -> str:
    data = plan.dataset.licence or "not declared in the dataset's dataset.json: ask whoever gave you the data"
    return (
        f"This model was trained on the dataset {plan.dataset.name}.\n\n"
        f"Licence of the dataset: {data}\n\n"
        "The weights and the files derived from them may be used as far as that licence allows.\n"
        "The software that trained and runs the model, voxelburst, is under the Apache License 2.0:\n"
        "https://www.apache.org/licenses/LICENSE-2.0\n"
    )


def card(
    *, name: str, fold: str, plan: Plan, training: TrainResult, entry: EngineFile, host: Host, parity: Parity
) -> str:
    """The model card, in Markdown."""
    members = next((f for f in plan.folds if f.name == fold), None)
    trained_on, held_out = (
        (_cases(members.train), _cases(members.validation)) if members else ("the others", "its cases")
    )
    told_apart = plan.dataset.classes
    classes = ", ".join(told_apart or [f"{label.value} {label.name}" for label in plan.dataset.labels])
    last = training.curve[-1] if training.curve else None
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_mm_zyx)
    patch = " x ".join(map(str, plan.patch))
    rows = {
        "Dataset": plan.dataset.name,
        "Reference": plan.dataset.reference or "not given",
        "Licence of the data": plan.dataset.licence or "not declared",
        "Channels": ", ".join(plan.dataset.channels),
        "Classes" if told_apart else "Labels": classes,
        "Fold": f"{fold}: trained on {trained_on}, {held_out} held out",
        "Cases in quarantine": str(plan.cases.quarantined),
    }
    how = {
        "Network": f"{plan.network.model}, features {', '.join(map(str, plan.network.features))}, "
        f"{training.parameters:,} parameters",
        "Spacing, patch": f"{spacing} mm (z, y, x), {patch} voxels",
        "Training": f"{training.steps:,} steps of batch {training.batch} in {training.precision}, "
        f"strategy {training.strategy}, seed {plan.seed}; the last checkpoint, not the best",
        "Trained on": f"{training.host.device}, {training.host.devices} GPUs",
        "Engine": f"{entry.engine} in {entry.precision}, built on {host.device}",
        "Versions": ", ".join(f"{package} {version}" for package, version in sorted(host.versions.items())),
    }
    scores = {
        "Mean Dice of the parity check, FP32": _shown(parity.mean_dice_fp32),
        "Mean Dice of the parity check, this engine": _shown(parity.mean_dice_engine),
        "Voxels whose class agrees": f"{parity.argmax_agreement:.4%}",
        "Pooled Dice of validation patches at the end of training": _shown(
            last.pseudo_dice if last else None
        ),
    }
    does = f"Segments {classes.replace('0 background, ', '')} in"
    of = "segmentation"
    measures = "Dice, HD95 and NSD of every validation case, measured on the masks in the images' own grid,"
    if told_apart and parity.classification:
        does, of = f"Tells {classes} apart by whole", "classification"
        measures = "AUC, accuracy and the probabilities of every validation case"
        scores = {
            "AUC of the parity check, FP32": _shown(parity.classification.auc_fp32),
            "AUC of the parity check, this engine": _shown(parity.classification.auc_engine),
            "Accuracy of the parity check, this engine": _shown(parity.classification.accuracy_engine),
        }
    return f"""# {name}

{does} {", ".join(plan.dataset.channels)} volumes.

## Intended use

Research and engineering: {of} of volumes like those it was trained on, the same modality, anatomy
and field of view. It is no medical device. Nothing here says how it behaves on other scanners, protocols or
patients: measure that on your own data before you rely on it.

## Data

{_table(rows)}

## How it was made

{_table(how)}

## Scores

{_table(scores)}

The parity check covers {parity.cases} validation cases ({parity.rule}). {measures}
are in the report of run {plan.run_id}: a model is scored after it is compiled, so they cannot be in
this card.

## Use

`voxelburst predict <this folder> <images> --out <folder>`; model.json has the checksums of all files.
"""


def _cases(ids: list[str]) -> str:
    return f"{len(ids)} case{'' if len(ids) == 1 else 's'}"


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _table(rows: dict[str, str]) -> str:
    lines = [f"| {key} | {_escaped(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _escaped(text: str) -> str:
    """One table cell: what a dataset says of itself may hold bars and line breaks."""
    return " ".join(text.replace("|", "\\|").split())
