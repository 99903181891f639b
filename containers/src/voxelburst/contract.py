"""The documents that cross a boundary, as frozen dataclasses: the only place that knows camelCase.

Their schemas and meaning are in lib/contracts/*.ts. Axis order is z, y, x wherever a name ends in ``zyx``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from . import schema

T = TypeVar("T")
Zyx = tuple[int, int, int]
Mm = tuple[float, float, float]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


@cache
def _wire_names(cls: type) -> dict[str, str]:
    return {f.name: f.metadata.get("wire", _camel(f.name)) for f in dataclasses.fields(cls)}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _decode(next(a for a in args if a is not type(None)), value)
    if dataclasses.is_dataclass(hint):
        names, hints = _wire_names(hint), _hints(hint)  # type: ignore[arg-type]
        known = {n: _decode(hints[n], value[w]) for n, w in names.items() if w in value}
        return hint(**known)  # type: ignore[operator]
    if origin is tuple:
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        return tuple(_decode(h, v) for h, v in zip(inner, value, strict=True))
    if origin is list:
        return [_decode(args[0], v) for v in value]
    if origin is dict:
        return {k: _decode(args[1], v) for k, v in value.items()}
    return float(value) if hint is float else value


def from_json(cls: type[T], value: dict[str, Any]) -> T:
    """The dataclass of a document that has been checked against its schema."""
    return typing.cast(T, _decode(cls, value))


def to_json(value: Any) -> Any:
    """The document of a dataclass: camelCase, without fields that are None unless the schema wants null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = _wire_names(type(value))
        nullable = {f.name for f in dataclasses.fields(value) if f.metadata.get("null")}
        return {
            names[f.name]: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) is not None or f.name in nullable
        }
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    return value


def parse(cls: type[T], value: Any, what: str, document: str | None = None) -> T:
    """Checks a document against the schema of its class and returns the dataclass.

    Raises:
        StageError: DocumentInvalid, naming the field, what was got and what is allowed.
    """
    schema.check(document or DOCUMENT_OF[cls], value, what)
    return from_json(cls, value)


NULL: Any = {"null": True}


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    return dataclass(frozen=True, kw_only=True)(cls)


@frozen
class Label:
    value: int
    name: str


@frozen
class Dataset:
    name: str
    channels: list[str]
    labels: list[Label]
    classes: list[str] | None = None
    reference: str | None = None
    licence: str | None = None


@frozen
class Warning:
    code: str
    message: str


@frozen
class Intensities:
    count: int
    mean: float
    std: float
    min: float
    max: float
    quantiles: list[float]


@frozen
class Source:
    kind: str
    slices: int | None = None
    transfer_syntax: str | None = None


@frozen
class CaseRecord:
    schema: int = 1
    case_id: str
    case_hash: str
    split: str
    patient: str | None = None
    class_name: str | None = field(default=None, metadata={"wire": "class"})
    source: Source
    prefix: str
    images: list[str]
    label: str | None = None
    shape_zyx: Zyx
    spacing_mm_zyx: Mm
    affine: list[list[float]]
    dtype: str
    nonzero_box_zyx: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    label_voxels: dict[str, int] | None = None
    channels: list[Intensities]
    sha256: dict[str, str]
    bytes: int
    warnings: list[Warning]


@frozen
class QuarantineEntry:
    case_id: str
    code: str
    message: str
    got: str
    allowed: str
    remedy: str


@frozen
class InputObject:
    key: str
    bytes: int


@frozen
class IngestCase:
    case_id: str
    case_hash: str
    split: str
    images: list[InputObject]
    label: InputObject | None = None
    patient: str | None = None
    class_name: str | None = field(default=None, metadata={"wire": "class"})


@frozen
class IngestedCase:
    case_id: str
    record_key: str


@frozen
class _Task:
    schema: int
    stage: str
    task_id: str
    run_id: str
    version: str
    dataset: str
    dataset_uri: str
    artefacts_uri: str
    run_prefix: str
    input_hash: str
    cases_key: str


@frozen
class IngestTask(_Task):
    shards: int
    quarantine_uri: str
    definition: Dataset
    min_slices: int


@frozen
class PreprocessTask(_Task):
    shards: int
    plan_key: str


@frozen
class PreprocessCase:
    case_id: str
    record_key: str
    output_prefix: str
    output_hash: str


@frozen
class TrainTask(_Task):
    plan_key: str
    fold: str
    strategy: str
    gpus: int
    output_prefix: str
    checkpoint_minutes: float


@frozen
class TrainCase:
    case_id: str
    part: str
    arrays_prefix: str
    class_name: str | None = field(default=None, metadata={"wire": "class"})


@frozen
class CompileTask(_Task):
    plan_key: str
    fold: str
    strategy: str
    engine: str
    model_prefix: str
    output_prefix: str


@frozen
class InferTask(_Task):
    shards: int
    plan_key: str
    fold: str
    strategy: str
    engine: str
    engine_prefix: str
    masks_prefix: str


@frozen
class InferCase:
    case_id: str
    part: str
    record_key: str
    output_prefix: str
    output_hash: str


TASKS: dict[str, type[_Task]] = {
    "ingest": IngestTask,
    "preprocess": PreprocessTask,
    "train": TrainTask,
    "compile": CompileTask,
    "infer": InferTask,
}


@frozen
class Network:
    model: str
    input_channels: int
    output_classes: int
    features: list[int]
    strides: list[Zyx]
    kernels: list[Zyx]
    deep_supervision_weights: list[float]


@frozen
class Normalisation:
    """scheme: ct (clip_low, clip_high, mean, std), zscore (masked), none, rescale-0-1, rgb-0-1."""

    scheme: str
    clip_low: float | None = None
    clip_high: float | None = None
    mean: float | None = None
    std: float | None = None
    masked: bool | None = None


@frozen
class Fold:
    name: str
    train: list[str]
    validation: list[str]


@frozen
class Budget:
    steps: int | None = None
    minutes: float | None = None


@frozen
class InferSettings:
    overlap: float
    mirroring: bool
    nsd_tolerance_mm: float = 1.0
    precision: str | None = None


@frozen
class CaseCounts:
    training: int
    test: int
    quarantined: int


@frozen
class Plan:
    """The parts of plan.json that containers read; the estimate and the go are for the state machine."""

    schema: int
    run_id: str
    version: str
    dataset: Dataset
    cases: CaseCounts
    spacing_mm_zyx: Mm
    median_shape_zyx: Zyx
    transpose: Zyx
    patch: Zyx
    batch: int
    network: Network
    normalisation: list[Normalisation]
    batch_dice: bool
    dummy2d: bool
    precision: str
    optimizer: str
    seed: int
    budget: Budget
    infer: InferSettings
    folds: list[Fold]


@frozen
class Host:
    backend: str
    device: str
    devices: int
    cpus: int
    versions: dict[str, str]
    fallbacks: list[str]


@frozen
class Latency:
    p50_ms: float
    p95_ms: float


@frozen
class _Result:
    schema: int = 1
    stage: str
    run_id: str
    task_id: str
    index: int | None = None
    input_hash: str
    version: str
    started_at: str
    seconds: float
    peak_memory_mi_b: float = field(metadata={"wire": "peakMemoryMiB"})
    host: Host


@frozen
class IngestResult(_Result):
    cases: int
    done: int
    skipped: int
    quarantined: int
    cases_key: str
    quarantine_key: str


@frozen
class PreprocessResult(_Result):
    cases: int
    done: int
    skipped: int
    voxels: int
    volumes_per_second: float


@frozen
class CurvePoint:
    step: int
    seconds: float
    loss: float
    learning_rate: float
    pseudo_dice: float | None = None
    auc: float | None = None
    accuracy: float | None = None


@frozen
class TrainResult(_Result):
    fold: str
    strategy: str
    precision: str
    loader: str
    batch: int
    steps: int
    resumed_from_step: int
    train_seconds: float
    patches_per_second: float
    volumes_per_second: float
    step_latency: Latency
    gpu_busy_percent: float | None = None
    curve: list[CurvePoint]
    model_prefix: str
    weights_sha256: str
    parameters: int


@frozen
class ClassParity:
    """The parity of classes, which have no Dice."""

    auc_fp32: float | None = field(metadata=NULL)
    auc_engine: float | None = field(metadata=NULL)
    accuracy_fp32: float
    accuracy_engine: float
    largest_probability_difference: float


@frozen
class Parity:
    cases: int
    mean_dice_fp32: float | None = field(metadata=NULL)
    mean_dice_engine: float | None = field(metadata=NULL)
    largest_logit_difference: float
    argmax_agreement: float
    passed: bool
    rule: str
    classification: ClassParity | None = None


@frozen
class CompileResult(_Result):
    fold: str
    strategy: str
    engine: str
    precision: str
    build_seconds: float
    engine_prefix: str
    parity: Parity


@frozen
class ClassScore:
    class_name: str = field(metadata={"wire": "class"})
    dice: float | None = field(metadata=NULL)
    hd95_mm: float | None = field(metadata=NULL)
    nsd: float | None = field(metadata=NULL)
    reference_voxels: int
    predicted_voxels: int


@frozen
class Classified:
    """A volume's class. probabilities: of each class, of sum 1. reference: None for a case without class."""

    probabilities: dict[str, float]
    predicted: str
    reference: str | None = None


@frozen
class CaseScores:
    case_id: str
    part: str
    classes: list[ClassScore]
    mean_dice: float | None = field(metadata=NULL)
    windows: int
    seconds: float
    mask_key: str | None = None
    preview_key: str | None = None
    classification: Classified | None = None


@frozen
class InferResult(_Result):
    fold: str
    strategy: str
    engine: str
    precision: str
    cases: int
    done: int
    skipped: int
    scores_key: str
    windows: int
    windows_per_second: float
    model_seconds: float
    file_to_mask_seconds: float
    volumes_per_second: float
    window_latency: Latency
    batch: int | None = None
    gpu_busy_percent: float | None = None


@frozen
class EngineFile:
    engine: str
    precision: str
    file: str | None = None


@frozen
class ModelFolder:
    """model.json of a model folder."""

    schema: int = 1
    name: str
    version: str
    run_id: str
    fold: str
    strategy: str
    channels: list[str]
    labels: list[Label]
    network: Network
    normalisation: list[Normalisation]
    transpose: Zyx
    spacing_mm_zyx: Mm
    patch: Zyx
    infer: InferSettings
    engines: list[EngineFile]
    files: dict[str, str]
    classes: list[str] | None = None


DOCUMENT_OF: dict[type, str] = {
    Dataset: "dataset",
    CaseRecord: "case-record",
    QuarantineEntry: "quarantine-entry",
    IngestCase: "ingest-case",
    IngestedCase: "ingested-case",
    PreprocessCase: "preprocess-case",
    TrainCase: "train-case",
    InferCase: "infer-case",
    Plan: "plan",
    CaseScores: "case-scores",
    ModelFolder: "model-folder",
    **dict.fromkeys(TASKS.values(), "task"),
    **dict.fromkeys((IngestResult, PreprocessResult, TrainResult, CompileResult, InferResult), "result"),
}
