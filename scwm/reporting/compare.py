"""Comparison of two runs, or of two groups of runs over seeds, with intervals of differences.

With several seeds on both sides the differences are paired by seed. With one seed, the differences
of rank metrics are paired by query. The second kind of interval holds only for these two models:
another seed may reverse the difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.measures import MEASURES, Measure
from scwm.core.yaml_files import read_yaml
from scwm.evaluation.sides import read_query_scores
from scwm.reporting.measures import read_measure
from scwm.reporting.paired import equal_by_chance, seeds_needed, t_interval
from scwm.reporting.runs import Run, read_run
from scwm.reporting.tables.layouts import LAYOUTS

_IN_TABLES = {one for layout in LAYOUTS.values() for one in layout.measures}
SHOWN = tuple(one for one in MEASURES.values() if one in _IN_TABLES and not one.signed)
PLANNED = 2.0  # points of mAP: the difference that the number of seeds is planned for


@dataclass(frozen=True)
class Difference:
    """One measure of both sides, in the unit that tables show.

    Attributes:
        first, second: means of both sides.
        interval: 95 % interval of the mean of second − first; None with only one seed.
        deviation: standard deviation of second − first over the seeds; None with only one.
    """

    measure: Measure
    first: float
    second: float
    interval: tuple[float, float] | None
    deviation: float | None

    @property
    def decided(self) -> bool | None:
        """Whether the interval excludes 0; None without an interval."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Comparison:
    """The differences of two sides.

    Attributes:
        names: names of the sides: data set and method, and the seed if each is one run.
        seeds: common seeds.
        basis: basis of the intervals.
    """

    names: tuple[str, str]
    seeds: tuple[int, ...]
    basis: str
    differences: tuple[Difference, ...]

    @property
    def seeds_needed(self) -> int | None:
        """The number of paired seeds that decide `PLANNED` points of mAP; None with one seed."""
        found = {one.measure.key: one.deviation for one in self.differences}.get("mAP")
        return None if found is None else seeds_needed(found, PLANNED)


def compare(first: Path, second: Path) -> Comparison:
    """Compare two runs, or all runs of two methods' folders, by all measures that both have.

    Raises:
        ScwmError: runs or common seeds are missing, or a run cannot be read.
    """
    sides = _runs(first), _runs(second)
    by_seed = [{run.seed: run for run in side} for side in sides]
    alone = all(len(side) == 1 for side in sides)
    seeds = tuple(sorted(by_seed[0].keys() & by_seed[1].keys()))
    if alone:
        pairs = [(sides[0][0], sides[1][0])]
    elif not seeds:
        raise ScwmError("The two have no seed in common.", f"{first}, {second}", "compare runs")
    else:
        pairs = [(by_seed[0][seed], by_seed[1][seed]) for seed in seeds]
    names = tuple(
        f"{one.dataset} / {one.method}" + (f" / seed {one.seed}" if len(pairs) == 1 else "")
        for one in pairs[0]
    )
    intervals: dict[str, tuple[float, float]] = {}
    basis = f"seeds {', '.join(map(str, seeds))}, paired: Student's 95 % interval"
    if any(_data(one) != _data(other) for one, other in pairs):
        basis += "; queries or galleries differ, so a difference may be the data's"
    if len(pairs) == 1:
        intervals, basis = _over_queries(*pairs[0])
    found = (_difference(measure, pairs, intervals) for measure in SHOWN)
    differences = tuple(one for one in found if one)
    return Comparison((names[0], names[1]), seeds, basis, differences)


def _runs(path: Path) -> list[Run]:
    """Read the run in a folder, or the runs in its folders seed0, seed1 and so on."""
    single = (path / "metrics.json").is_file()
    folders = [path] if single else sorted(one.parent for one in path.glob("seed*/metrics.json"))
    if not folders:
        raise ScwmError(
            "There is no evaluated run here.",
            path,
            "give a run's folder, or a method's folder that holds seed0, seed1, …",
        )
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> Run:
    config = read_yaml(folder / "config.yaml")
    try:
        return read_run(folder, config["dataset"], config["method"], config["seed"])
    except (ValueError, KeyError) as error:
        raise ScwmError(
            f"Not a run: {error}", folder, "evaluate it with `scwm evaluate`"
        ) from error


def _difference(
    measure: Measure,
    pairs: Sequence[tuple[Run, Run]],
    intervals: dict[str, tuple[float, float]],
) -> Difference | None:
    """Compare one measure; None if a run lacks it."""
    values = [tuple(read_measure(run, measure) for run in pair) for pair in pairs]
    known = np.array([pair for pair in values if None not in pair], dtype=float)
    if len(known) < len(pairs):
        return None
    known *= measure.scale
    interval, deviation = intervals.get(measure.key), None
    if len(pairs) > 1:
        effects = (known[:, 1] - known[:, 0]).tolist()
        deviation = float(np.std(effects, ddof=1))
        interval = None if equal_by_chance(effects) else t_interval(effects)
    elif interval:
        interval = interval[0] * measure.scale, interval[1] * measure.scale
    mean = known.mean(axis=0).tolist()
    return Difference(measure, mean[0], mean[1], interval, deviation)


def _data(run: Run) -> tuple[str, object]:
    return run.dataset, run.provenance.get("data_hash")


def _over_queries(first: Run, second: Run) -> tuple[dict[str, tuple[float, float]], str]:
    """Compute intervals of the rank metrics' differences over common queries, and their basis."""
    try:
        scores = [read_query_scores(run.folder / "queries.npz") for run in (first, second)]
    except ScwmError as error:
        return {}, f"one run each, no intervals: {error.what} ({error.where})"
    if _data(first) != _data(second) or len({len(own["mAP"]) for own in scores}) > 1:
        return {}, "one run each, no intervals: their queries or galleries differ"
    effects = {name: scores[1][name] - scores[0][name] for name in scores[0]}
    known = {name: values[~np.isnan(values)].tolist() for name, values in effects.items()}
    intervals = {name: t_interval(values) for name, values in known.items() if len(values) > 1}
    return intervals, (
        f"one run each, {len(known['mAP']):,} queries with a match, paired: Student's 95 % "
        "interval; it holds only for these two models, not of other seeds"
    )


def cells(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the printed table, its header first."""
    yield "measure", "first", "second", "difference", "95 % interval", "decided"
    for one in comparison.differences:
        digits = one.measure.decimals + 1
        interval = "–"
        if one.interval:
            low, high = one.interval
            interval = f"{low:+.{digits}f} … {high:+.{digits}f}"
        yield (
            one.measure.heading,
            *(f"{value:,.{digits}f}" for value in (one.first, one.second)),
            f"{one.second - one.first:+,.{digits}f}",
            interval,
            {None: "–", True: "yes", False: "no"}[one.decided],
        )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Convert the comparison for other programs, in the units of the table."""
    found = {
        one.measure.key: {
            "first": one.first,
            "second": one.second,
            "difference": one.second - one.first,
            "interval": one.interval,
            "deviation": one.deviation,
            "decided": one.decided,
        }
        for one in comparison.differences
    }
    return {
        "first": comparison.names[0],
        "second": comparison.names[1],
        "seeds": comparison.seeds,
        "basis": comparison.basis,
        "seeds_needed": comparison.seeds_needed,
        "measures": found,
    }
