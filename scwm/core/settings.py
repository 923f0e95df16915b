"""Every setting of a run and of a benchmark: its type, range, choices, default and meaning.

These models check the configs, and code reads their attributes. docs/config.md and
workflow/schemas/config.schema.yaml are written from them (tools/config_reference.py). A result
depends on the values in its run's config.yaml, not on this file (`scwm.core.sources`).
"""

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from scwm.core.plugins import (
    BACKBONES,
    CLUSTERINGS,
    FOREGROUND_CORRECTIONS,
    NAME,
    SPACE_CORRECTIONS,
    STRATEGIES,
    Kind,
)

METHOD = rf"{NAME}(@{NAME}\.{NAME}=[A-Za-z0-9_.+-]+)?"


def _of_kind(kind: Kind) -> BeforeValidator:
    """Check that a module exists."""

    def check(value: Any) -> Any:
        if not kind.allows(value):
            raise PydanticCustomError("module", "no such module", {"choices": kind.choices()})
        return value

    return BeforeValidator(check)


def _as_written(value: Any, check: Callable[[Any], Any]) -> Any:
    """Keep a whole number an integer, so that a config is written and hashed as it was given."""
    check(value)
    return value


def within(low: float, high: float) -> Any:
    """Build a range that includes both ends."""
    return Field(ge=low, le=high)


def _distinct(values: Any) -> Any:
    if isinstance(values, list) and any(value in values[:i] for i, value in enumerate(values)):
        raise PydanticCustomError("distinct", "a value stands twice")
    return values


AS_WRITTEN = WrapValidator(_as_written)
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Share = Annotated[float, within(0, 1), AS_WRITTEN]
Rate = Annotated[float, within(0, 10), AS_WRITTEN]
Weight = Annotated[float, within(0, 1e6), AS_WRITTEN]
Temperature = Annotated[float, within(1e-4, 1e6), AS_WRITTEN]
Side = Annotated[int, within(32, 4096)]
Seed = Annotated[int, within(0, 2**31 - 1)]
Feature = Literal["global", "parts", "both"]
Strategy = Annotated[str, STRATEGIES, _of_kind(STRATEGIES)]
Unique = (BeforeValidator(_distinct), Field(min_length=1, json_schema_extra={"uniqueItems": True}))
Names = Annotated[list[Name], *Unique]
Paths = dict[Name, Annotated[str, Field(min_length=1)] | None]
SweptValue = bool | int | float | Annotated[str, Field(pattern="^([a-z]+/)?[A-Za-z0-9_.+-]+$")]


class Section(BaseModel):
    """Settings by name. Other keys are refused, and so is text for a number, or 1 for true."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class ModelSettings(Section):
    """The network."""

    backbone: Annotated[str, BACKBONES, _of_kind(BACKBONES)] = "resnet50"
    """A file of scwm/models/backbones, or `timm/NAME`: a network of timm."""
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    """`imagenet`, another of the backbone's `WEIGHTS`, `none`, or a file."""

    @property
    def weights_file(self) -> str | None:
        """The file that `weights` names; None if it is a name."""
        return None if re.fullmatch(NAME, self.weights) else os.path.expanduser(self.weights)

    batch_norm: Literal["batch", "frozen"] = "batch"
    """Batch statistics, or the pretrained ones, folded into the convolutions."""
    pooling: Literal["gem", "average"] = "gem"
    """How a map becomes one feature."""
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)] = [256, 128]
    """Height and width in pixels."""
    parts: Annotated[int, within(0, 32)] = 6
    """K; 0: the global feature only."""
    part_source: Literal["parsed", "stripes"] = "parsed"
    """Where parts come from."""
    part_channels: Annotated[int, within(2, 4096)] = 256
    """Channels of the pixel features F."""


class PseudoLabelSettings(Section):
    """The clustering of the training images."""

    source: Literal["clusters", "truth"] = "clusters"
    """`truth` is a control: true identities."""
    feature: Feature = "both"
    """What is clustered."""
    k1: Annotated[int, within(2, 1000)] = 30
    """Nearest neighbours of an image, itself included."""
    k2: Annotated[int, within(1, 1000)] = 6
    """Images averaged in the query expansion."""
    clustering: Annotated[str, CLUSTERINGS, _of_kind(CLUSTERINGS)] = "dbscan"
    """A file of scwm/method/pseudo_labels/clusterings."""
    eps: Annotated[float, within(0.001, 0.999), AS_WRITTEN] = 0.6
    """Jaccard distance: DBSCAN's radius, Infomap's longest link, average linkage's largest mean."""
    min_samples: Annotated[int, within(1, 1000)] = 4
    """Images within the radius that make a core, or in the smallest cluster."""
    eps_gap: Annotated[float, within(0, 0.5), AS_WRITTEN] = 0.0
    """Clusterings at eps - eps_gap and eps + eps_gap find unreliable clusters (SpCL); 0: none."""
    unclustered: Literal["left_out", "own_class"] = "left_out"
    """What an epoch does with an image without a cluster; `own_class`: a class of one image."""


class ParsingSettings(Section):
    """The cascaded clustering of the pixels."""

    foreground_correction: Annotated[
        bool | str, FOREGROUND_CORRECTIONS, _of_kind(FOREGROUND_CORRECTIONS)
    ] = True
    """A file of scwm/method/parsing/foreground_corrections; `true`: the suite's own."""
    space_correction: Annotated[bool | str, SPACE_CORRECTIONS, _of_kind(SPACE_CORRECTIONS)] = True
    """A file of scwm/method/parsing/space_corrections; `true`: the suite's own."""
    every: Annotated[int, within(0, 10**6)] = 0
    """Epochs between two cascaded clusterings; 0: one, at the start."""


class MemorySettings(Section):
    """The prototypes of the pseudo identities."""

    momentum: Share = 0.1
    """Share of the old prototype that an update keeps."""
    temperature: Annotated[float, within(1e-4, 100), AS_WRITTEN] = 0.05
    """Of the contrastive loss."""
    global_entries: Literal["clusters", "images"] = "clusters"
    """A prototype for each cluster and epoch, or a slot for each image that is kept (SpCL)."""
    global_strategy: Strategy = "hard_mining"
    """A file of scwm/method/strategies: which samples move a prototype."""
    part_strategy: Strategy = "noise_suppression"
    """The same for the parts."""
    global_tau: Temperature = 0.02
    """Temperature of the weights, in units of the difficulty 1 - cos."""
    part_tau: Temperature = 0.1
    """The same for the parts."""


class RefinementSettings(Section):
    """Learned classifiers instead of the memories, with labels that the parts refine (PPLR)."""

    neighbours: Annotated[int, within(0, 1000)] = 0
    """Nearest images by which a part and the global feature agree; 0: memories, no refinement."""
    own_share: Share = 0.5
    """β: weight of the pseudo identity in a global feature's label; the parts share the rest."""
    equal_epochs: Annotated[int, within(0, 10**6)] = 5
    """First epochs, in which all labels of parts are smoothed by 0.1, not by their agreement."""
    cameras: Weight = 0.0
    """Weight of the inter-camera loss, which uses camera labels; 0: no camera is read."""


class SupportSettings(Section):
    """Support samples between the clusters of the global memory (ISE)."""

    degree: Annotated[float, within(0, 4), AS_WRITTEN] = 0.0
    """λ0: four times the share of the way to the nearest other prototype, at the end; 0: none."""
    preserving: Weight = 0.1
    """Weight of the label-preserving loss."""


class LossSettings(Section):
    """Weights of the losses; the global loss has weight 1."""

    part: Weight = 1.0
    """Contrastive loss of the parts."""
    parsing: Weight = 1.0
    """Cross-entropy of the part classifier."""
    diversity: Weight = 0.5
    """Overlap of an image's part masks, and their collapse."""
    separation: Weight = 0.5
    """Similarity of an image's part features."""
    separation_margin: Annotated[float, within(-1, 1), AS_WRITTEN] = 0.0
    """Similarity below which they cost nothing."""


class TrainingSettings(Section):
    """Epochs, batches and optimiser."""

    epochs: Annotated[int, within(1, 10**6)] = 50
    """Each has new pseudo identities."""
    iterations: Annotated[int, within(1, 10**9)] = 200
    """Steps of an epoch."""
    identities: Annotated[int, within(2, 10**5)] = 16
    """Pseudo identities in a batch."""
    instances: Annotated[int, within(1, 10**5)] = 16
    """Images of each."""
    sampler: Literal["identities", "identities_and_cameras"] = "identities"
    """`identities_and_cameras` uses camera labels."""
    learning_rate: Rate = 3.5e-4
    """Of Adam."""
    weight_decay: Rate = 5.0e-4
    """Of Adam, added to the gradient."""
    warmup: Annotated[int, within(0, 10**6)] = 0
    """Epochs in which the learning rate rises to its value, by equal steps; 0: none."""
    decay_every: Annotated[int, within(0, 10**6)] = 20
    """Epochs until the learning rate is multiplied by `decay`; 0: constant."""
    decay: Share = 0.1
    """Factor of the learning rate."""
    virtual_batch: Annotated[int, within(0, 10**6)] = 64
    """Images that batch normalisation sees together; 0: the whole batch."""
    average: Annotated[float, within(0, 0.9999), AS_WRITTEN] = 0.0
    """Share of the old in the running average of the steps; 0: none."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on a GPU, float32 on a CPU."""
    deterministic: bool = False
    """The same bytes from the same seed on a GPU; a CPU needs no switch."""


class AugmentSettings(Section):
    """Random changes of the training images."""

    flip: Share = 0.5
    """Chance of a mirror image."""
    pad: Annotated[int, within(0, 10**4)] = 10
    """Pixels of padding before the random crop."""
    erase: Share = 0.5
    """Chance that a box is erased."""


class EvaluationSettings(Section):
    """The features that are scored."""

    feature: Feature = "both"
    """What the tables score."""
    batch: Annotated[int, within(1, 10**6)] = 128
    """Images embedded at once; limits memory. The necks' first statistics are means over them."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the features that are scored."""


class Settings(Section):
    """All sections; what is not given has its default."""

    model: ModelSettings = ModelSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    parsing: ParsingSettings = ParsingSettings()
    memory: MemorySettings = MemorySettings()
    refinement: RefinementSettings = RefinementSettings()
    support: SupportSettings = SupportSettings()
    losses: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    augment: AugmentSettings = AugmentSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


class Config(Settings):
    """The whole configuration of one run."""

    dataset: Name
    """The data set's name."""
    method: Annotated[str, Field(pattern=f"^{METHOD}$")]
    """The method's name, or that of a variant, as in `scwm@model.parts=4`."""
    description: str
    """Of the method, for the tables."""
    seed: Seed
    """Decides every draw."""
    kind: Literal["trained", "untrained", "random_features", "colour_histogram"] = "trained"
    """What computes the features."""


Overrides = Annotated[Settings, PlainSerializer(lambda given: given.model_dump(exclude_unset=True))]


class Benchmark(Section):
    """The product of data sets, methods and seeds: one file of config/."""

    datasets: Names
    """Files of config/datasets."""
    methods: Annotated[list[Annotated[str, Field(pattern=f"^{METHOD}$")]], *Unique]
    """Files of config/methods, controls among them; `NAME@SECTION.KEY=VALUE` changes a setting."""
    seeds: Annotated[list[Seed], *Unique]
    """Each method runs once with each."""
    sweep: dict[
        Annotated[str, Field(pattern=rf"^{NAME}\.{NAME}$")], Annotated[list[SweptValue], *Unique]
    ] = {}
    """Setting -> values other than its own that `scwm` is run with, one at a time."""
    claims: Names | None = None
    """Files of config/claims that it can decide; any other is informative. Null: all of them."""
    results: Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)*$")] = (
        "results"
    )
    """Folder of runs, tables, plots and report."""
    gpu: bool = False
    """Whether training and evaluation ask the scheduler for a GPU."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Processes that share each training's batches; with `gpu` each has its own GPU."""
    threads_per_run: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of one process. Null: 8 with `gpu`, else 1: several runs at once are faster."""
    container: Annotated[str, Field(min_length=1)] | None = None
    """Image that the rules run in with `--sdm apptainer`: `docker://NAME` or a file."""
    sources: Paths = {}
    """Data set -> local archive or folder."""
    keypoints: Paths = {}
    """Data set -> file with joints of its training images, for the study of parsing."""
    transfer: Annotated[list[Name], BeforeValidator(_distinct)] = []
    """Other data sets that each method's runs are scored on, without training on them."""
    settings: Overrides = Field(default_factory=Settings)
    """Changes of the defaults for every run."""
    dataset_settings: dict[Name, Overrides] = {}
    """Data set -> changes for its runs only."""
