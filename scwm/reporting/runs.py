"""Finished runs read from disk, and gaps for missing runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scwm.core.errors import ScwmError
from scwm.core.freeze import read_freeze
from scwm.core.measures import MEASURES
from scwm.core.yaml_files import parse_yaml
from scwm.reporting.catalogue import Request, transfer_pairs
from scwm.reporting.inputs import READ_OF_RUNS

CONTROLS = ("random_features", "pretrained", "colour_histogram", "oracle")
"""Methods that frame the comparison (chance, no training, truth) and compete for no rank."""

ENOUGH_SEEDS = 3
"""With fewer seeds no difference of scores is pointed out."""


@dataclass(frozen=True)
class Run:
    """One trained and evaluated run.

    Attributes:
        config: the resolved configuration.
        metrics: content of metrics.json; scores are fractions, an unknown value is None.
        history: one row per epoch; no rows for a control that is not trained.
        provenance: commit, hashes, versions, hardware, time.
    """

    dataset: str
    method: str
    seed: int
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: pd.DataFrame
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Gap:
    """A requested run that cannot be shown, with the reason."""

    dataset: str
    method: str
    seed: int
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset} / {self.method} / seed {self.seed}: {self.reason}"


@dataclass(frozen=True)
class Runs:
    """The requested runs: their names in the order of display, the found runs and the gaps.

    Attributes:
        claims: names of the claims that the benchmark can decide; None: all.
    """

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    found: tuple[Run, ...]
    gaps: tuple[Gap, ...] = ()
    claims: tuple[str, ...] | None = None

    def of(self, dataset: str, method: str | None = None) -> list[Run]:
        """List the found runs of a data set, of one method or of all, by method and seed."""
        return [r for r in self.found if r.dataset == dataset and method in (None, r.method)]

    def of_methods(self, methods: Iterable[str]) -> "Runs":
        """The same without other methods, as if only these had been requested."""
        names = tuple(methods)
        found = tuple(run for run in self.found if run.method in names)
        gaps = tuple(gap for gap in self.gaps if gap.method in names)
        return replace(self, methods=names, found=found, gaps=gaps)


def run_folder(root: Path, dataset: str, method: str, seed: int) -> Path:
    """Return the folder of a run below the folder of all runs."""
    return Path(root) / dataset / method / f"seed{seed}"


def read_run(folder: Path, dataset: str, method: str, seed: int) -> Run:
    """Read the run in a folder.

    Raises:
        ValueError: a file is missing or cannot be read.
    """
    absent = [name for name in READ_OF_RUNS if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"no {', '.join(absent)}")
    try:
        config = parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"), "config.yaml")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        history = pd.read_csv(folder / "history.csv")
    except (ValueError, ScwmError) as error:
        raise ValueError(f"unreadable: {str(error).splitlines()[0]}") from error
    contents = {"config.yaml": config, "metrics.json": metrics, "provenance.json": provenance}
    if wrong := [name for name, content in contents.items() if not isinstance(content, dict)]:
        raise ValueError(f"{wrong[0]} holds no mapping")
    if "mAP" not in metrics:
        raise ValueError("metrics.json has no mAP")
    words = {"metrics.json": _words(metrics), "provenance.json": _words(provenance)}
    if len(history):
        absent = [] if "epoch" in history else ["epoch"]
        words["history.csv"] = [*history.select_dtypes(exclude="number"), *absent]
    for name, keys in words.items():
        if keys:
            raise ValueError(f"{name} has no {keys[0]} that is a number")
    found = tuple(metrics.get(key) for key in ("dataset", "method", "seed"))
    if found != (dataset, method, seed):
        raise ValueError(f"metrics.json is of another run: {found}")
    return Run(dataset, method, seed, folder, config, metrics, history, provenance)


def _words(content: Mapping[str, Any]) -> list[str]:
    """List measures and times, also in sections, whose values are neither numbers nor unknown."""
    found = []
    for key, value in content.items():
        if key in MEASURES or key.startswith("seconds"):
            found += [] if isinstance(value, int | float | None) else [key]
        elif isinstance(value, Mapping):
            found += _words(value)
    return found


def load_runs(wanted: Request) -> Runs:
    """Read the runs of every data set, method and seed of a request.

    Raises:
        ScwmError: runs are missing and the request is not partial; the message lists the first.
    """
    root, claims = wanted.root, wanted.claims
    datasets, methods = (tuple(dict.fromkeys(one)) for one in (wanted.datasets, wanted.methods))
    seeds = tuple(dict.fromkeys(wanted.seeds))
    found: list[Run] = []
    gaps: list[Gap] = []
    for dataset in datasets:
        for method in methods:
            for seed in seeds:
                try:
                    folder = run_folder(root, dataset, method, seed)
                    found.append(read_run(folder, dataset, method, seed))
                except ValueError as error:
                    gaps.append(Gap(dataset, method, seed, str(error)))
    if gaps and not wanted.partial:
        places = [f"{run_folder(root, g.dataset, g.method, g.seed)}: {g.reason}" for g in gaps]
        remedy = "train and evaluate them first, or use --partial"
        if (root / "runs").is_dir():
            remedy += f"; or did you mean {root / 'runs'}?"
        raise _missing(places, root, remedy)
    named = None if claims is None else tuple(claims)
    return Runs(datasets, methods, seeds, tuple(found), tuple(gaps), named)


def _missing(places: Sequence[str], where: object, remedy: str) -> ScwmError:
    lines = [f"  {place}" for place in places[:5]]
    lines += [f"  and {len(places) - 5} more"] if len(places) > 5 else []
    what = f"{len(places)} runs are missing or incomplete:\n" + "\n".join(lines)
    return ScwmError(what, where, remedy)


def read_scores(run: Run, file: str) -> Any:
    """Read a JSON file that not every run has: its study, or its scores on another data set.

    Raises:
        LookupError: the file is missing or cannot be read.
    """
    try:
        content = json.loads((run.folder / file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LookupError(f"no {file}") from error
    except ValueError as error:
        raise LookupError(f"{file} is unreadable") from error
    if not isinstance(content, dict) or _words(content):
        raise LookupError(f"{file} is unreadable")
    return content


def transferred(runs: Runs, transfer: Sequence[str], partial: bool = False) -> Runs:
    """Return the runs with their scores on other data sets, each pair as a data set of its own.

    Raises:
        ScwmError: no other data set is given, or scores are missing and `partial` is false.
    """
    pairs = transfer_pairs(runs.datasets, transfer)
    if not pairs:
        remedy = "name a data set that the runs were not trained on"
        raise ScwmError("There is no other data set.", "--transfer", remedy)
    found: list[Run] = []
    gaps: list[Gap] = []
    for name, (dataset, target) in pairs.items():
        gaps += [replace(gap, dataset=name) for gap in runs.gaps if gap.dataset == dataset]
        for run in runs.of(dataset):
            try:
                metrics = read_scores(run, f"transfer/{target}.json")
            except LookupError as error:
                gaps.append(Gap(name, run.method, run.seed, str(error)))
            else:
                found.append(replace(run, dataset=name, metrics=metrics))
    if gaps and not partial:
        remedy = "score them with `scwm evaluate --transfer`, or use --partial"
        raise _missing([str(gap) for gap in gaps], "--transfer", remedy)
    return replace(runs, datasets=tuple(pairs), found=tuple(found), gaps=tuple(gaps))


def freeze_note(runs: Runs) -> str:
    """Say whether settings, claims and code were frozen before the runs, and what changed since."""
    found = read_freeze()
    if found is None:
        return "Settings and claims are not frozen."
    broken, commit = found.broken(), found.commit[:10]
    others = sum(run.provenance.get("frozen") != found.hash for run in runs.found)
    when = "" if others else " before the runs"
    note = f"Settings and claims were frozen at commit {commit}{when}."
    if broken:
        named = [name for name in broken if not name.startswith("scwm/")]
        if code := len(broken) - len(named):
            named.append(f"{code} files of scwm (listed by scwm freeze --check)")
        note = f"Changed after the freeze at commit {commit}: {', '.join(named)}."
    if others:
        note += f" Not trained under the freeze: {others} of {len(runs.found)} runs."
    return note


def with_ending(out: Path, ending: str) -> Path:
    """Add `ending` to the name of `out`, which may have dots, and make its folder."""
    out = Path(out)
    if not out.name:
        raise ScwmError("The path has no file name.", "--out", "give a folder and a name")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.with_name(out.name + ending)
