"""Names of the tables and figures in the order of display, without imports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

REFERENCE = "scwm"


@dataclass(frozen=True)
class Request:
    """The runs that tables and figures show.

    Attributes:
        root: folder of the runs.
        transfer: other data sets that runs were scored on.
        claims: names of the claims that the benchmark can decide; None: all.
        partial: show a gap for a missing run, instead of failing.
    """

    root: Path
    datasets: Sequence[str]
    methods: Sequence[str]
    seeds: Sequence[int]
    transfer: Sequence[str] = ()
    claims: Sequence[str] | None = None
    partial: bool = False

    def of(self, name: str) -> "Request":
        """Return the request for the methods of one table or figure."""
        return replace(self, methods=methods_of(name, self.methods))


TITLES = {
    "claims": "Claims",
    "main": "Methods and controls",
    "ablation": "Ablation of the components",
    "transfer": "Other data sets, without training on them",
    "published": "Published methods and ours",
    "corrections": "Foreground and space correction",
    "memories": "Memory strategies, global and part",
    "sweeps": "One setting at a time",
    "features": "Test features and definitions of average precision",
    "controls": "Controls",
    "cost": "Cost",
}
"""Titles of the tables, in the order of the report."""

TABLES = tuple(TITLES)

CAPTIONS = {
    "claims": "Effect of each claim: mean over the seeds and Student's 95 % interval, positive in "
    "the claim's favour. Colour: the verdict, which for required claims (bold) is corrected for "
    "their number. Blue tick: the required value. An arrow: the interval continues.",
    "ablation": "mAP of the full method, its ablations and the controls (grey): mean over the "
    "seeds, error bar of one standard deviation, a point for each seed. Dashed: the full method.",
    "transfer": "mAP on a data set that the models were not trained on: mean over the seeds, error "
    "bar of one standard deviation, a point for each seed. Dashed: the full method.",
    "sweeps": "mAP of the full method with one setting changed: mean over the seeds, band of one "
    "standard deviation, a point for each seed. Orange: the method's own value.",
    "weights": "Weights of the memories at one model's features, against their temperature: "
    "weight of wrong samples divided by their weight under equal weights (1: no difference), and "
    "Spearman's rank correlation of weight and true difficulty. Mean over the seeds and each "
    "seed's point.",
    "curves": "Training, epoch by epoch: mean over the seeds, band of one standard deviation.",
    "pseudo_labels": "Pseudo identities, pixel labels and memory weights against the truth, epoch "
    "by epoch. Weight of wrong samples: divided by their weight under equal weights. Training "
    "never uses the truth (except the control oracle).",
    "masks": "Part masks on the same images, first seed. Each part has the colour of the true part "
    "that it is matched with, as for the part mIoU. Where true masks are known, images show whole "
    "people.",
    "ranks": "Rank lists of the same queries, first seed. Where true masks are known, queries show "
    "whole people; gallery images are as the data have them. A tick and a green frame: the same "
    "person under another camera; a cross and a red frame: another person; neither: identities are "
    "unknown. Number: similarity.",
    "tsne": "t-SNE of the test features of the twelve identities with most gallery images, first "
    "seed: above a colour and shape for each identity, below for each camera. Good features group "
    "identities and mix cameras.",
    "time": "Time of a run by stage: mean over the seeds, its total at the end. Rest: start, "
    "reading and writing. Times depend on the machine and its other jobs.",
}
"""The caption of each figure, in the order of the report."""

PLOTS = tuple(CAPTIONS)


def with_variants(methods: Sequence[str], sweep: Mapping[str, Sequence[Any]]) -> list[str]:
    """List the methods of a benchmark and the variants of its sweep, which vary the reference.

    Without the reference among the methods there are no variants.
    """
    values = sweep.items() if REFERENCE in methods else ()
    variants = (f"{REFERENCE}@{key}={one}" for key, own in values for one in own)
    names = (name.replace("/", "+") for name in variants)  # of folders
    return list(dict.fromkeys([*methods, *names]))


def transfer_pairs(datasets: Iterable[str], transfer: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return, by its name, each pair of a data set that runs train on and another to score on."""
    pairs = product(datasets, transfer)
    return {f"{own} to {other}": (own, other) for own, other in pairs if own != other}


def asked(names: Iterable[str], datasets: Iterable[str], transfer: Sequence[str]) -> list[str]:
    """List the tables or figures of a benchmark; `transfer` needs another data set."""
    return [name for name in names if name != "transfer" or transfer_pairs(datasets, transfer)]


def methods_of(name: str, methods: Iterable[str]) -> list[str]:
    """List the methods of a table or figure.

    `sweeps` needs the reference and its variants; all others need the methods without these
    variants. Another method with one setting changed is a method.
    """
    if name == "sweeps":
        return [method for method in methods if method.partition("@")[0] == REFERENCE]
    return [method for method in methods if not method.startswith(f"{REFERENCE}@")]
