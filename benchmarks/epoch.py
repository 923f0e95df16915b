"""Seconds of one epoch by stage, as a stacked bar for each method and label.

    python -m benchmarks.epoch --store STORE --weights FILE [--label NAME] [--out DIR]

trains the first epochs of `market1501_small` (or of another config) with a clock around each stage
and adds the rows to epoch.csv in `--out`: seconds of the first epoch, which holds the start of
parts, and the median of the others. A label names the revision that was measured.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from scwm.core.allocator import keep_freed_memory
from scwm.core.config import resolve_config
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.store import ImageStore
from scwm.evaluation.monitor import StepMonitor
from scwm.method.objective import Objective
from scwm.models import read_state
from scwm.reporting.figures.style import figure_style, save
from scwm.training.trainer import Trainer, build_network

METHODS = ("scwm", "global_only")
HISTORY = ("features", "pseudo_labels", "parsing")
STAGES = {
    "forward": "#0072B2",
    "backward": "#56B4E9",
    "features": "#009E73",
    "pseudo_labels": "#E69F00",
    "parsing": "#D55E00",
    "augmentation": "#CC79A7",
    "losses": "#F0E442",
    "optimiser": "#5B3A8C",
    "average": "#7A5C00",
    "memory": "#000000",
    "monitor": "#C62828",
    "rest": "#8A8A8A",
}


@contextmanager
def clocked(owner: Any, name: str, into: dict[str, float], key: str) -> Iterator[None]:
    """Add the seconds of every call of `owner.name` to `into[key]`."""
    function = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            into[key] += time.perf_counter() - start

    with patch.object(owner, name, timed):
        yield


def epochs_of(trainer: Trainer, count: int) -> list[dict[str, float]]:
    """Seconds by stage of each of the first `count` epochs."""
    trainer.start_neck()
    rows = []
    for epoch in range(count):
        spent: dict[str, float] = defaultdict(float)
        with ExitStack() as stack:
            for owner, name, key in (
                (trainer.augment, "draw", "augmentation"),
                (trainer.augment, "apply", "augmentation"),
                (trainer, "forward", "forward"),
                (Objective, "losses", "losses"),
                (torch.Tensor, "backward", "backward"),
                (trainer.optimizer, "step", "optimiser"),
                (trainer.average, "update", "average"),
                (Objective, "update", "memory"),
                (StepMonitor, "add", "monitor"),
                (StepMonitor, "read", "monitor"),
            ):
                stack.enter_context(clocked(owner, name, spent, key))
            start = time.perf_counter()
            state = trainer.start_epoch(epoch)
            trainer.run_steps(state)
            history = state.finish(trainer.parsed)
            whole = time.perf_counter() - start
        spent |= {stage: history[f"seconds_{stage}"] for stage in HISTORY}
        rows.append({**spent, "rest": whole - sum(spent.values()), "epoch": whole})
    return rows


def plot(rows: pd.DataFrame, out: Path) -> list[Path]:
    """Stacked bars, one for each label and method, of an epoch after the first."""
    later = rows[rows["which"] == "later"].iloc[::-1]
    names = [f"{row.label}: {row.method}" for row in later.itertuples()]
    with figure_style():
        figure = Figure(figsize=(8, 1.2 + 0.45 * len(later)), layout="constrained")
        axis = figure.subplots()
        left = np.zeros(len(later))
        for stage, colour in STAGES.items():
            values = later[stage].fillna(0).to_numpy()
            label = stage.replace("_", " ")
            axis.barh(names, values, left=left, color=colour, label=label, edgecolor="white")
            left += values
        axis.set_xlabel("seconds of one epoch")
        axis.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=6, fontsize=8)
        return save(figure, out)


def main() -> None:
    """Measure, add to the table, draw it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--experiment", type=Path, default=CONFIG_DIR / "market1501_small.yaml")
    parser.add_argument("--label", default="now")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/performance"))
    arguments = parser.parse_args()
    keep_freed_memory()
    experiment, store = read_yaml(arguments.experiment), ImageStore(arguments.store)
    weights, split = read_state(arguments.weights), store.split("train")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "epoch.csv"
    rows = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["label", "method"])
    for method in METHODS:
        config = resolve_config(method, store.info["dataset"], 0, experiment["settings"])
        seconds = epochs_of(
            Trainer(config, build_network(config, weights), split), arguments.epochs
        )
        later = {key: float(np.median([row[key] for row in seconds[1:]])) for key in seconds[1]}
        rows = rows[(rows["label"] != arguments.label) | (rows["method"] != method)]
        known = {"label": arguments.label, "method": method}
        new = [{**known, "which": "first", **seconds[0]}, {**known, "which": "later", **later}]
        rows = pd.concat([rows, pd.DataFrame(new)], ignore_index=True)
        rows.to_csv(file, index=False)
    for path in plot(rows, arguments.out / "epoch"):
        print(path)


if __name__ == "__main__":
    main()
