"""Measures: where a run's files hold a figure, and how a table shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scwm.reporting.runs import Run


@dataclass(frozen=True)
class Measure:
    """A column of figures.

    Attributes:
        key: the column's name in CSV and JSON.
        path: keys that lead to the value in metrics.json, or, after "provenance", in
            provenance.json; by default the key alone.
        minus: the path of what is taken from it.
        best: which value is marked as the best one, if any.
    """

    key: str
    title: str
    path: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    scale: float = 100.0
    digits: int = 1
    best: Literal["high", "low", ""] = "high"
    signed: bool = False

    def read(self, run: Run) -> float | None:
        """The value of a run, None where it is unknown or not applicable."""
        source = {**run.metrics, "provenance": run.provenance}
        value = _follow(source, self.path or (self.key,))
        if value is None or not self.minus:
            return value
        other = _follow(source, self.minus)
        return None if other is None else value - other

    def show(self, value: float) -> str:
        """The value alone, scaled and rounded, with a true minus sign and no minus zero."""
        text = f"{value * self.scale:{'+' if self.signed else ''},.{self.digits}f}"
        if float(text.replace(",", "")) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "\N{MINUS SIGN}")


def _follow(source: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        source = source.get(key) if isinstance(source, Mapping) else None
    value: float | None = source
    return value


MAP, RANK1 = Measure("mAP", "mAP"), Measure("rank1", "Rank-1")
RANK5, RANK10 = Measure("rank5", "Rank-5"), Measure("rank10", "Rank-10")
MINP = Measure("mINP", "mINP")
TRAPEZOID = Measure("mAP_trapezoid", "mAP (trapezoid)")
PARSING = (
    Measure("foreground_iou", "Foreground IoU", ("parsing", "foreground_iou")),
    Measure("part_miou", "Part mIoU", ("parsing", "part_miou")),
)
MISPLACED = Measure(
    "misplaced_share", "Misplaced pixels", ("parsing", "misplaced_share"), best="low"
)
MASKS = Measure(
    "effective_parts", "Masks in use", ("parts", "effective_parts"), scale=1, digits=2, best=""
)
ARI = Measure("ari", "ARI", ("pseudo_labels", "ari"))
CLUSTERS = Measure(
    "clusters", "Clusters", ("pseudo_labels", "clusters"), scale=1, digits=0, best=""
)
DIFFERENCE = Measure("difference", "Δ mAP", best="", signed=True)
"""Of a run to the reference's of the same seed: no file holds it, `summarise` computes it."""

COST = (
    Measure("seconds_train", "Training (s)", ("provenance", "seconds_train"), scale=1, digits=0,
            best="low"),
    Measure("seconds_evaluate", "Evaluation (s)", ("provenance", "seconds_evaluate"), scale=1,
            best="low"),
    Measure("images_per_second", "Images/s", ("provenance", "images_per_second"), scale=1),
    Measure("peak_memory_mib", "Peak memory (MiB)", ("provenance", "peak_memory_mib"), scale=1,
            digits=0, best="low"),
    Measure("parameters", "Parameters (M)", scale=1e-6, digits=2, best=""),
)  # fmt: skip


def _feature_measures() -> tuple[Measure, ...]:
    titles = {"global": "global", "parts": "parts", "both": "both"}
    maps = (Measure(f"mAP_{f}", f"mAP {t}", ("features", f, "mAP")) for f, t in titles.items())
    gains = (
        Measure(
            f"trapezoid_{feature}",
            f"Δ trapezoid {title}",
            ("features", feature, "mAP_trapezoid"),
            ("features", feature, "mAP"),
            digits=2,
            best="",
            signed=True,
        )
        for feature, title in titles.items()
    )
    ranks = (
        Measure(f"rank1_{f}", f"Rank-1 {t}", ("features", f, "rank1")) for f, t in titles.items()
    )
    return (*maps, *gains, *ranks)


FEATURES = _feature_measures()
