"""Every measure of a run: its title, its unit, and its place in the run's files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from scwm.core.errors import ScwmError, suggest

FEATURES = ("global", "parts", "both")
SCALES = {"%": 100.0, "M": 1e-6}


@dataclass(frozen=True)
class Measure:
    """One entry of the registry.

    Attributes:
        key: its name in CSV and JSON files.
        unit: "%" for a fraction that is shown times 100, "M" for a number shown in millions,
            otherwise the unit of the value itself, "" for a plain number.
        better: which values are better, if any.
        decimals: number of decimals in tables.
        sources: places in the files of a run, first the place that tables read. A path in
            metrics.json, or ``history:`` a column of history.csv, ``study:`` a path in study.json,
            ``transfer:`` a data set and a path in its file of transfer/, ``provenance:`` a path in
            provenance.json; * matches any name.
        minus: source of the value that is subtracted.
        signed: whether a positive value is shown with its sign.
    """

    key: str
    title: str
    unit: str = "%"
    better: Literal["higher", "lower", ""] = "higher"
    decimals: int = 1
    sources: tuple[str, ...] = ()
    minus: str = ""
    signed: bool = False

    @property
    def scale(self) -> float:
        """The factor of a shown value."""
        return SCALES.get(self.unit, 1.0)

    @property
    def heading(self) -> str:
        """The title with the unit, for a table whose scores are all in percent."""
        return self.title if self.unit in ("%", "") else self.axis

    @property
    def axis(self) -> str:
        """The title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def show(self, value: float) -> str:
        """Format the value, scaled and rounded, with a true minus sign and without minus zero."""
        text = f"{value * self.scale:{'+' if self.signed else ''},.{self.decimals}f}"
        if float(text.replace(",", "")) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "\N{MINUS SIGN}")


def _at(sources: Iterable[str], *measures: Measure) -> Iterator[Measure]:
    """Add sources in front of the measures' own, with their key in place of ``{}``."""
    for one in measures:
        named = (source.format(one.key) for source in sources)
        yield replace(one, sources=(*named, *one.sources))


def _features() -> Iterator[Measure]:
    """List the measures of each test feature."""
    for name in FEATURES:
        yield Measure(f"mAP_{name}", f"mAP {name}", sources=(f"features.{name}.mAP",))
    for name in FEATURES:
        yield Measure(
            *(f"trapezoid_{name}", f"Δ trapezoid {name}", "%", "", 2),
            sources=(f"features.{name}.mAP_trapezoid",),
            minus=f"features.{name}.mAP",
            signed=True,
        )
    for name in FEATURES:
        yield Measure(f"rank1_{name}", f"Rank-1 {name}", sources=(f"features.{name}.rank1",))


def _weights() -> Iterator[Measure]:
    """List the measures of the memories' weights."""
    yield Measure("wrong_share", "Wrong samples", better="lower")
    for kind, name in (("global", "global"), ("part", "parts")):
        yield Measure(f"{kind}_wrong_ratio", f"Weight of wrong samples, {name}", "", "lower", 3)
        yield Measure(f"{kind}_hidden_ratio", f"Weight of hidden samples, {name}", "", "lower", 3)
        yield Measure(f"{kind}_hard_rank", f"Rank of hard samples, {name}", "", "higher", 3)


_REGISTRY = (
    *_at(
        ("{}", "features.*.{}", "transfer:*.{}", "reranked.{}"),
        Measure("mAP", "mAP", sources=("study:parsing.*.mAP",)),
        Measure("rank1", "Rank-1"),
        Measure("rank5", "Rank-5"),
        Measure("rank10", "Rank-10"),
        Measure("mINP", "mINP"),
        Measure("mAP_trapezoid", "mAP (trapezoid)"),
    ),
    Measure("difference", "Δ mAP", better="", signed=True),  # `summarise` computes it
    *_features(),
    Measure("mAP_reranked", "mAP re-ranked", sources=("reranked.mAP",)),
    Measure("rank1_reranked", "Rank-1 re-ranked", sources=("reranked.rank1",)),
    *_at(
        ("parsing.{}", "study:parsing.*.{}"),
        Measure("foreground_iou", "Foreground IoU"),
        Measure("part_miou", "Part mIoU"),
        Measure("misplaced_share", "Misplaced pixels", better="lower"),
    ),
    *_at(
        ("history:{}",),
        Measure("epoch", "Epoch", "", "", 0),
        Measure("iterations", "Iterations", "", "", 0),
        Measure("images", "Images drawn", "", "", 0),
        Measure("loss", "Loss (weighted sum)", "", "lower", 3),
        Measure("loss_global", "Global loss", "", "lower", 3),
        Measure("loss_part", "Part loss", "", "lower", 3),
        Measure("loss_parsing", "Parsing loss", "", "lower", 3),
        Measure("loss_diversity", "Diversity loss", "", "lower", 3),
        Measure("loss_separation", "Separation loss", "", "lower", 3),
    ),
    *_at(
        ("pseudo_labels.{}", "history:{}", "study:pseudo_labels.{}"),
        Measure("clusters", "Clusters", "", "", 0),
        Measure("unclustered_share", "Share of unclustered images", better="lower"),
        Measure("ari", "ARI"),
        Measure("nmi", "NMI"),
    ),
    *_at(
        ("history:{}",),
        Measure("label_foreground_iou", "Pixel labels: foreground IoU"),
        Measure("label_part_miou", "Pixel labels: part mIoU"),
        Measure("label_misplaced_share", "Pixels out of their part's rows", better="lower"),
        Measure("mask_foreground_iou", "Masks: foreground IoU"),
        Measure("mask_part_miou", "Masks: part mIoU"),
    ),
    *_at(
        ("parts.{}", "history:{}"),
        Measure("effective_parts", "Masks in use", "", "", 2),
        Measure("part_similarity", "Cosine between parts", "", "lower", 2),
    ),
    *_at(
        ("history:{}", "study:memory.strategies.*.{}", "study:memory.sweep.*.{}"),
        *_weights(),
    ),
    *_at(
        ("history:{}",),
        Measure("learning_rate", "Learning rate", "", "", 6),
        Measure("seconds_features", "Features", "s", "lower"),
        Measure("seconds_pseudo_labels", "Pseudo labels", "s", "lower"),
        Measure("seconds_parsing", "Parsing", "s", "lower"),
        Measure("seconds_training", "Optimiser steps", "s", "lower"),
    ),
    *_at(
        ("provenance:{}", "history:{}"),
        Measure("cpu_seconds", "CPU time", "s", "lower", 0),
    ),
    *_at(
        ("study:parsing.*.{}",),
        Measure("foreground_share", "Foreground", better=""),
        Measure("cut_foreground_iou", "Foreground IoU, cut or shifted boxes"),
        Measure("cut_part_miou", "Part mIoU, cut or shifted boxes"),
        Measure("same_share_foreground_iou", "Foreground IoU of the activation"),
        Measure(
            "same_share_cut_foreground_iou",
            "Foreground IoU of the activation, cut or shifted boxes",
        ),
        Measure("joints_in_foreground", "Joints in the foreground"),
        Measure("border_in_foreground", "Border in the foreground", better="lower"),
        Measure("joints_minus_border", "Joints less border in the foreground"),
        Measure("joint_part_nmi", "NMI of joints and parts"),
    ),
    *_at(
        ("provenance:{}",),
        Measure("seconds_train", "Training", "s", "lower", 0),
        Measure("seconds_evaluate", "Evaluation", "s", "lower"),
        Measure("images_per_second", "Images/s", ""),
        Measure("peak_memory_mib", "Peak memory", "MiB", "lower", 0),
    ),
    Measure("parameters", "Parameters", "M", "", 2, ("parameters",)),
)
MEASURES = {measure.key: measure for measure in _REGISTRY}


def measures(*keys: str) -> tuple[Measure, ...]:
    """Return the measures of these keys."""
    return tuple(MEASURES[key] for key in keys)


def keys_at(start: str) -> tuple[str, ...]:
    """List the keys of measures with a source that begins with `start`, such as ``history:``."""
    found = MEASURES.values()
    return tuple(one.key for one in found if any(s.startswith(start) for s in one.sources))


def measure_at(source: str) -> Measure:
    """Return the measure of a source.

    Raises:
        ScwmError: the measure is unknown; the message suggests the nearest one.
    """
    for one in MEASURES.values():
        if any(fnmatchcase(source, own) for own in one.sources):
            return one
    known = [own for one in MEASURES.values() for own in one.sources]
    raise ScwmError(
        f"Unknown metric '{source}'.{suggest(source, known)}",
        remedy="give a path in metrics.json, history:COLUMN, study:PATH or transfer:DATASET.PATH "
        "of a measure that scwm/core/measures.py lists",
    )


def locate(source: str) -> tuple[str, str]:
    """Split a source into the name of a run's file, without its suffix, and a path in it."""
    file, _, path = source.rpartition(":")
    if file == "transfer":
        dataset, _, path = path.partition(".")
        file = f"transfer/{dataset}"
    return file or "metrics", path
