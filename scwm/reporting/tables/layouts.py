"""The layout of each table of runs: rows, columns of text, measures."""

from collections.abc import Callable
from dataclasses import dataclass

from scwm.core.config import split_variant
from scwm.core.measures import Measure, keys_at, measures
from scwm.reporting.catalogue import REFERENCE
from scwm.reporting.runs import CONTROLS, Run

CORRECTIONS = (REFERENCE, "no_foreground", "no_space", "no_corrections", "stripes")
MEMORIES = (
    *(REFERENCE, "weighted_global_only", "weighted_part_only", "uniform_memory", "hard_memory"),
)
PARSING = ("foreground_iou", "part_miou")
RERANKED = ("mAP_reranked", "rank1_reranked")
COST = (
    *("seconds_train", "cpu_seconds", "seconds_evaluate", "images_per_second"),
    *("peak_memory_mib", "parameters"),
)
FEATURES = (
    *("mAP_global", "mAP_parts", "mAP_both"),
    *("trapezoid_global", "trapezoid_parts", "trapezoid_both"),
    *("rank1_global", "rank1_parts", "rank1_both"),
)
TEXTS: dict[str, tuple[str, Callable[[Run], str]]] = {
    "description": ("What differs", lambda run: run.config.get("description") or ""),
    "test_feature": ("Test feature", lambda run: run.metrics.get("default_feature") or ""),
    "global_memory": ("Global memory", lambda run: _strategy(run, "global")),
    "part_memory": ("Part memory", lambda run: _strategy(run, "part")),
    "value": ("Value", lambda run: split_variant(run.method)[2]),
    "note": ("", lambda run: run.metrics.get("label_note") or ""),
}


def _strategy(run: Run, kind: str) -> str:
    return str(run.config.get("memory", {}).get(f"{kind}_strategy", "")).replace("_", " ")


def _all(methods: tuple[str, ...]) -> list[str]:
    return sorted(methods, key=lambda method: method in CONTROLS)


def _ablations(methods: tuple[str, ...]) -> list[str]:
    own = [method for method in methods if method not in CONTROLS]
    return sorted(own, key=lambda method: method != REFERENCE)


def _among(*wanted: str) -> Callable[[tuple[str, ...]], list[str]]:
    return lambda methods: [method for method in wanted if method in methods]


@dataclass(frozen=True)
class Layout:
    """The layout of a table: its rows from the requested methods, columns of text, measures.

    Measures of `RERANKED` are columns only where a run has them.
    """

    rows: Callable[[tuple[str, ...]], list[str]]
    texts: tuple[str, ...]
    measures: tuple[Measure, ...]
    note: str = ""


LAYOUTS = {
    "main": Layout(
        _all,
        ("test_feature",),
        measures(*keys_at("features.*."), *RERANKED, *PARSING, "ari", "clusters"),
        "Clusters: a count.",
    ),
    "ablation": Layout(
        _ablations,
        ("description", "test_feature"),
        measures("mAP", "difference", "rank1", *PARSING),
        f"Δ mAP: difference to {REFERENCE} in percentage points, paired by seed.",
    ),
    "transfer": Layout(
        _all,
        ("test_feature",),
        measures("mAP", "difference", "rank1", "rank5", "rank10", "mINP", *RERANKED),
        "Trained on the first data set, scored on query and gallery of the second. Δ mAP: "
        f"difference to {REFERENCE}, paired by seed.",
    ),
    "corrections": Layout(
        _among(*CORRECTIONS),
        (),
        measures(*(*PARSING, "misplaced_share", "effective_parts", "mAP", "difference", "rank1")),
        "Misplaced pixels: share that lies outside the rows of its part. Masks in use: effective "
        f"number of parts. Δ mAP: difference to {REFERENCE}, paired by seed.",
    ),
    "memories": Layout(
        _among(*MEMORIES),
        ("global_memory", "part_memory"),
        measures("mAP", "difference", "rank1", "rank5", "ari"),
        f"Δ mAP: difference to {REFERENCE} in percentage points, paired by seed.",
    ),
    "sweeps": Layout(
        lambda methods: [method for method in methods if split_variant(method)[0] == REFERENCE],
        ("value",),
        measures("mAP", "difference", "rank1", *PARSING, "ari", "clusters"),
        f"{REFERENCE}, and {REFERENCE} with one setting changed. Δ mAP: difference to {REFERENCE}, "
        "paired by seed.",
    ),
    "cost": Layout(
        _all,
        (),
        measures(*COST),
        "Numbers depend on the machine and its other jobs. Training: all stages of all epochs; "
        "CPU time: of the epochs, all threads of the first process. "
        "Images/s: of optimiser steps. Parameters: of the tested network.",
    ),
    "controls": Layout(
        _among("random_features", "colour_histogram", "pretrained", REFERENCE, "oracle"),
        ("description",),
        measures("mAP", "rank1", "rank5", "mINP"),
        "Chance, only colour, no training, the method, and training with the true identities.",
    ),
    "features": Layout(
        _all,
        ("test_feature",),
        measures(*FEATURES),
        "mAP: mean of the precision at each match, as in most code of the field; Δ trapezoid: mAP "
        "of Market-1501's own evaluation, which joins these points by straight lines, minus this "
        "mAP. Both: global and part features, concatenated.",
    ),
}
