"""A config as it is written: one pydantic model per section, every key optional.

What is required, and what goes with what, depends on the strategy, on other keys and on the
catalogue of losses; that is looked at when the parts are built.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from distillcli.config.fields import Choice, Device, Flag, Number, NumberOrName, Pair, Text, Whole

STRATEGIES = ("response", "progressive", "ensemble")
# The keys that only some strategies have, and of which strategies.
OWNERS = {
    "teacher": ("response", "progressive"),
    "teachers": ("ensemble",),
    "teacher_hidden": ("progressive",),
    "student_hidden": ("progressive",),
    "tail": ("response", "progressive"),
    "response": ("response", "progressive"),
    "progressive": ("progressive",),
    "ensemble": ("ensemble",),
}
PRESETS = ("pure_kl", "balanced", "hinton")
# The forms of a section of which one is given, each with its keys.
FORMS = {"response": (("alpha",), ("preset",), ("soft_label_weight", "hard_label_weight"))}
KINDS = ("logits", "probabilities", "log_probabilities")
DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
SOURCE = "a path, a list of paths or {path: ..., dataset: ...}"

Weight = Annotated[float, Number()]
Temperature = Annotated[float, Number(1e-4, 1e4)]
Alpha = Annotated[float, Number(0.0, 1.0)]


def _shape(value: Any) -> str:
    """The tag of a value in a union; angle brackets, so that no key is ever like it."""
    return "<list>" if isinstance(value, list | tuple) else _long_or_text(value)


def _long_or_text(value: Any) -> str:
    return "<long>" if isinstance(value, dict | BaseModel) else "<text>"


def _list_or_word(value: Any) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<word>"


class Section(BaseModel):
    """Strict and closed: no conversions, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LongSource(Section):
    """{path, dataset, dtype, scale, zero_point, kind, temperature}, and of the largest classes
    {classes, values, indices, log_z}"""

    path: Annotated[str, Text("a path")]
    dataset: Annotated[str, Text("the name of a dataset")] | None = None
    dtype: Annotated[str, Choice(DTYPES)] | None = None
    scale: Annotated[float | str, NumberOrName(1e-9, 1e6, "the name of a dataset")] | None = None
    zero_point: Annotated[int, Whole(-(2**31), 2**31 - 1)] | None = None
    kind: Annotated[str, Choice(KINDS)] | None = None
    temperature: Temperature | None = None
    classes: Annotated[int, Whole(1, 2**31)] | None = None
    values: Annotated[str, Text("the name of a dataset")] | None = None
    indices: Annotated[str, Text("the name of a dataset")] | None = None
    log_z: Annotated[str, Text("the name of a dataset")] | None = None


_Path = Annotated[str, Text(SOURCE), Tag("<text>")]
_Long = Annotated[LongSource, Tag("<long>")]
_Shard = Annotated[
    Annotated[str, Text("a path or {path: ..., dataset: ...}"), Tag("<text>")] | _Long,
    Discriminator(_long_or_text),
]
_Shards = Annotated[list[_Shard], Field(min_length=1), Tag("<list>")]
WrittenSource = Annotated[_Path | _Long | _Shards, Discriminator(_shape)]
_Layers = Annotated[list[WrittenSource], Field(min_length=1), Tag("<list>")]
WrittenLayers = Annotated[_Path | _Long | _Layers, Discriminator(_shape)]

_Weights = Annotated[list[Weight], Field(min_length=1), Tag("<list>")]
_LayerWord = Annotated[str, Choice(("uniform",), "a list of weights"), Tag("<word>")]
RULES = ("uniform", "accuracy", "confidence", "fit", "confidence_per_row", "best_per_row")
_TeacherWord = Annotated[str, Choice(RULES, "a list of weights"), Tag("<word>")]
_MetricWord = Annotated[str, Choice(("all", "none"), "a list of names"), Tag("<word>")]
_Metrics = Annotated[list[Annotated[str, Text("the name of a metric")]], Tag("<list>")]


class ResponseSection(Section):
    """response:"""

    soft_loss: dict[str, Any] | None = None
    alpha: Alpha | None = None
    preset: Annotated[str, Choice(PRESETS)] | None = None
    soft_label_weight: Weight | None = None
    hard_label_weight: Weight | None = None


class ProjectionSection(Section):
    """progressive.projection: {init, seed}, {init, ridge} or {path, dataset, dtype}"""

    init: Annotated[str, Choice(("xavier_uniform", "least_squares"))] | None = None
    seed: Annotated[int, Whole(0, 2**32 - 1)] | None = None
    ridge: Weight | None = None
    path: Annotated[str, Text("a path")] | None = None
    dataset: Annotated[str, Text("the name of a dataset")] | None = None
    dtype: Annotated[str, Choice(DTYPES)] | None = None


_NoProjection = Annotated[
    str,
    Choice(("none",), "a mapping like {init: xavier_uniform, seed: 0} or {path: W.npy}"),
    Tag("<text>"),
]
_Projection = Annotated[
    _NoProjection | Annotated[ProjectionSection, Tag("<long>")], Discriminator(_long_or_text)
]


class ProgressiveSection(Section):
    """progressive:"""

    layer_mapping: (
        Annotated[list[Annotated[tuple[int, int], Pair()]], Field(min_length=1)] | None
    ) = None
    loss: (
        Annotated[
            Annotated[str, Text("the name of a loss or {name: ..., parameters}"), Tag("<text>")]
            | Annotated[dict[str, Any], Tag("<long>")],
            Discriminator(_long_or_text),
        ]
        | None
    ) = None
    hidden_weight: Weight | None = None
    response_weight: Weight | None = None
    layer_weights: Annotated[_Weights | _LayerWord, Discriminator(_list_or_word)] | None = None
    projection: _Projection | None = None


class EnsembleSection(Section):
    """ensemble:"""

    combine: Annotated[str, Choice(("logits", "probabilities", "log_probabilities"))] | None = None
    weights: Annotated[_Weights | _TeacherWord, Discriminator(_list_or_word)] | None = None
    fit_rows: Annotated[float, Number(1e-6, 1.0)] | None = None
    temperature: Temperature | None = None
    alpha: Alpha | None = None


class ToleranceSection(Section):
    """{rel, abs}"""

    rel: Weight | None = None
    abs: Weight | None = None


class CheckSection(Section):
    """check:"""

    mode: Annotated[str, Choice(("drift", "regression"))] | None = None
    default: ToleranceSection | None = None
    metrics: dict[str, ToleranceSection] | None = None
    significant: Annotated[bool, Flag()] | None = None


class VocabularySection(Section):
    """vocabulary: {map}"""

    map: WrittenSource | None = None


_VocabularyWord = Annotated[
    str, Choice(("error", "common"), "a map like {map: ids.npy}"), Tag("<text>")
]
_Vocabulary = Annotated[
    _VocabularyWord | Annotated[VocabularySection, Tag("<long>")], Discriminator(_long_or_text)
]


class PositionsSection(Section):
    """positions:"""

    skip_first: Annotated[int, Whole(0, 2**40)] | None = None


class WrittenConfig(Section):
    """A whole config file."""

    strategy: Annotated[str, Choice(STRATEGIES)] | None = None
    teacher: WrittenSource | None = None
    teachers: Annotated[list[WrittenSource], Field(min_length=1)] | None = None
    student: WrittenSource | None = None
    labels: WrittenSource | None = None
    teacher_tokens: WrittenSource | None = None
    student_tokens: WrittenSource | None = None
    ignore_index: Annotated[int | str, Whole(-(2**63), 2**63 - 1, "none")] | None = None
    shift_labels: Annotated[bool, Flag()] | None = None
    mask: WrittenSource | None = None
    positions: PositionsSection | None = None
    vocabulary: _Vocabulary | None = None
    tail: Annotated[str, Choice(("bucket", "renormalize"))] | None = None
    teacher_hidden: WrittenLayers | None = None
    student_hidden: WrittenLayers | None = None
    batch_size: Annotated[int | str, Whole(1, 2**40, "auto")] | None = None
    threads: Annotated[int | str, Whole(1, 1024, "auto")] | None = None
    device: Annotated[str, Device()] | None = None
    kernel: Annotated[str, Choice(("auto", "numpy", "fast"))] | None = None
    precision: Annotated[str, Choice(("auto", "float32", "float64"))] | None = None
    metrics: Annotated[_Metrics | _MetricWord, Discriminator(_list_or_word)] | None = None
    on_bad_rows: Annotated[str, Choice(("error", "skip"))] | None = None
    groups: WrittenSource | None = None
    response: ResponseSection | None = None
    progressive: ProgressiveSection | None = None
    ensemble: EnsembleSection | None = None
    losses: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    check: CheckSection | None = None
