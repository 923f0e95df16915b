"""Verification of results: metrics by queries and features, configs by hashes, tables by runs."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from scwm.core.config import config_hash
from scwm.core.errors import ScwmError
from scwm.core.measures import Measure, keys_at
from scwm.core.progress import progress
from scwm.evaluation import mean_scores
from scwm.evaluation.evaluate import rank_features
from scwm.evaluation.sides import read_features, read_query_scores
from scwm.reporting.catalogue import REFERENCE, Request, transfer_pairs
from scwm.reporting.markup import UNKNOWN
from scwm.reporting.measures import read_measure
from scwm.reporting.runs import Run, Runs, load_runs, read_scores
from scwm.reporting.tables.layouts import LAYOUTS

RANKING = keys_at("features.*.")
TOLERANCE = 1e-6  # metrics.json holds 6 decimals
HEADER = ("data set", "method", "seed", "measure", "stored", "recomputed", "verdict")


@dataclass(frozen=True)
class Check:
    """A stored value and the recomputed value; the seed of a table's row is ``mean of 3``."""

    dataset: str
    method: str
    seed: str
    measure: str
    stored: float | str
    recomputed: float | str

    @property
    def matches(self) -> bool:
        """Whether both are equal up to rounding, or both unknown."""
        if isinstance(self.stored, str) or isinstance(self.recomputed, str):
            return self.stored == self.recomputed
        if math.isnan(self.stored):
            return math.isnan(self.recomputed)
        return abs(self.stored - self.recomputed) <= TOLERANCE

    def cells(self) -> tuple[str, ...]:
        """Format the check as text, without the verdict."""
        shown = [
            value if isinstance(value, str) else UNKNOWN if math.isnan(value) else f"{value:.6f}"
            for value in (self.stored, self.recomputed)
        ]
        return self.dataset, self.method, self.seed, self.measure, *shown


@dataclass
class Findings:
    """All checks, problems that prevented checks, and what nothing in the folders can check.

    Attributes:
        left_out: scores that the folders cannot give again, with their number of runs.
    """

    checks: list[Check] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def rows(self, each: bool) -> list[tuple[str, ...]]:
        """Give a row for each check, or for each run and row its first mismatch or its mAP."""
        rows: list[tuple[str, ...]] = [HEADER]
        for _, group in groupby(self.checks, lambda check: check.cells()[:3]):
            own = list(group)
            wrong = [check for check in own if not check.matches]
            for check in own if each else (wrong or own)[:1]:
                agreed = f"{len(own) - len(wrong)} of {len(own)} match"
                single = "matches" if check.matches else "DIFFERS"
                rows.append((*check.cells(), single if each else agreed))
        return rows

    def unverified(self) -> str:
        """List what is left out."""
        lines = (f"\n  {scores} (runs: {count})" for scores, count in self.left_out.items())
        return "Not verified, because their features or images are not stored:" + "".join(lines)

    def confirm(self, results: Path) -> str:
        """Describe the number of checks.

        Raises:
            ScwmError: a value differs, or a run cannot be checked; the message lists all.
        """
        wrong = [
            "{} / {} / {}: {} is {}, recomputed {}".format(*check.cells())
            for check in self.checks
            if not check.matches
        ]
        if wrong or self.problems:
            raise ScwmError(
                "Not confirmed:\n" + "\n".join(f"  {line}" for line in [*wrong, *self.problems]),
                results,
                "make it again from its run (`scwm evaluate`, `scwm table`)",
            )
        return f"{len(self.checks)} values match"


def verify(
    results: Path,
    dataset: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    measure: str | None = None,
) -> Findings:
    """Check the runs in `results`/runs and, unless a seed is chosen, tables of their scores.

    The tables are main.csv and transfer.csv of `results`/tables, and claims.csv if nothing is
    chosen.

    Args:
        dataset, method, seed, measure: check only these; `measure` is one of `RANKING`.

    Raises:
        ScwmError: the run or the measure does not exist.
    """
    if measure not in (None, *RANKING):
        raise ScwmError(f"No measure '{measure}'.", "--measure", f"one of {', '.join(RANKING)}")
    root = results / "runs"
    names = [
        (path.parts[-4], path.parts[-3], int(path.parts[-2].removeprefix("seed")))
        for path in root.glob("*/*/seed*/metrics.json")
        if path.parts[-2].removeprefix("seed").isdecimal()
    ]
    chosen = [
        name
        for name in sorted(names)
        if all(want in (None, own) for want, own in zip((dataset, method, seed), name, strict=True))
    ]
    if not chosen:
        raise ScwmError(
            "There is no evaluated run of this choice.",
            root,
            "give the folder of results, which holds runs/"
            + "".join(
                f"; {option}: {', '.join(known)}"
                for option, want, column in zip(
                    ("--dataset", "--method", "--seed"),
                    (dataset, method, seed),
                    zip(*names, strict=True),
                    strict=False,
                )
                if want is not None and str(want) not in (known := sorted({*map(str, column)}))
            ),
        )
    found = Findings()
    runs: list[Run] = []
    for name in progress(chosen, "verify"):
        one = load_runs(Request(root, [name[0]], [name[1]], [name[2]], partial=True))
        runs += one.found
        found.problems += map(str, one.gaps)
        for run in one.found:
            try:
                found.checks += _of_run(run, [measure] if measure else RANKING, found.left_out)
            except ScwmError as error:
                found.problems.append(f"{error.where}: {error.what} Remedy: {error.remedy}.")
    for table, shown in (("main", runs), ("transfer", _transferred(runs))):
        path = results / "tables" / f"{table}.csv"
        if seed is None and path.is_file():
            try:
                found.checks += _of_table(path, shown, dataset, method, measure)
            except (ValueError, KeyError) as error:
                found.problems.append(f"{path}: not a table of `scwm table {table}`: {error}")
    path = results / "tables/claims.csv"
    if (dataset, method, seed, measure) == (None,) * 4 and path.is_file():
        try:
            found.checks += _of_claims(path, runs)
        except (ScwmError, ValueError, KeyError) as error:
            found.problems.append(f"{path}: not a table of `scwm table claims`: {error}")
    return found


def _of_run(run: Run, measures: Sequence[str], left_out: Counter[str]) -> Iterator[Check]:
    """Check metrics by the scores of each query and by features, and the config by its hash.

    Features are large, so recorded runs have none.
    """
    name = _name(run)
    by_query = mean_scores(read_query_scores(run.folder / "queries.npz"))
    for measure in measures:
        yield Check(*name, measure, _number(run.metrics, measure), _number(by_query, measure))
    stored, reranked = run.metrics.get("features") or {}, run.metrics.get("reranked")
    ranking: Mapping[str, Mapping[str, float | None]] = {}
    if (run.folder / "features.npz").exists():
        sides = read_features(run.folder / "features.npz")
        ranking = rank_features(sides)
        if reranked:
            (again,) = rank_features(sides, run.metrics["default_feature"], True).values()
            stored, ranking = stored | {"reranked": reranked}, ranking | {"reranked": again}
    elif stored or reranked:
        left_out["scores of single test features" + ", re-ranked" * bool(reranked)] += 1
        stored = {}
    for feature in sorted({*stored, *ranking}):
        both = stored.get(feature) or {}, ranking.get(feature, {})
        for measure in measures:
            yield Check(*name, f"{feature}: {measure}", *(_number(one, measure) for one in both))
    for path in sorted(run.folder.glob("transfer/*.json")):
        yield from _of_transfer(run, path.stem, measures, left_out)
    left_out["parsing, parts, pseudo labels, history and study, where a run has them"] += 1
    recorded = str(run.provenance.get("config_hash"))
    yield Check(*name, "config_hash", recorded, config_hash(run.config))


def _of_transfer(
    run: Run, target: str, measures: Sequence[str], left_out: Counter[str]
) -> Iterator[Check]:
    """Check the mAP on another data set by the average precision of each query; note the rest."""
    try:
        stored = read_scores(run, f"transfer/{target}.json")
    except LookupError as error:
        remedy = "score it again with `scwm evaluate --transfer`"
        raise ScwmError(str(error), run.folder, remedy) from error
    kinds = (
        ("", stored, "average_precision"),
        ("reranked: ", stored.get("reranked") or {}, "reranked_average_precision"),
    )
    for kind, scores, key in kinds:
        rest = [one for one in measures if scores.get(one) is not None]
        if "mAP" in rest and key in stored:
            rest.remove("mAP")
            known = [one for one in stored[key] if one is not None]
            mean = fmean(known) if known else math.nan
            yield Check(*_name(run), f"{target}: {kind}mAP", _number(scores, "mAP"), mean)
        if rest:
            left_out[f"{target}: {kind}{', '.join(rest)}"] += 1
    if stored.get("features"):
        left_out[f"{target}: scores of single test features"] += 1


def _name(run: Run) -> tuple[str, str, str]:
    return run.dataset, run.method, str(run.seed)


def _transferred(runs: Sequence[Run]) -> list[Run]:
    """List the runs with their scores on each other data set, named as in the table of these."""
    found = []
    for run in runs:
        for path in sorted(run.folder.glob("transfer/*.json")):
            with suppress(LookupError):  # it is unreadable, which `_of_transfer` reports
                scores = read_scores(run, f"transfer/{path.name}")
                pairs = transfer_pairs([run.dataset], [path.stem])
                found += [replace(run, dataset=pair, metrics=scores) for pair in pairs]
    return found


def _number(values: Mapping[Any, object], key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _of_table(
    path: Path, runs: Sequence[Run], dataset: str | None, method: str | None, measure: str | None
) -> Iterator[Check]:
    """Check mean, standard deviation and count of each measure in rows of the table by the runs.

    The table lists only the number of its seeds, which are assumed to be the first ones.
    """
    for row in _read_table(path, "dataset", "method", "seeds").to_dict("records"):
        if dataset not in (None, row["dataset"].split(" to ")[0]):
            continue
        if method not in (None, row["method"]):
            continue
        own = [run for run in runs if (run.dataset, run.method) == (row["dataset"], row["method"])]
        seeds = int(row["seeds"])
        place = f"{path.name}, {seeds} seed{'s' if seeds != 1 else ''}"
        for column in LAYOUTS[path.stem].measures:
            if measure not in (None, column.key) or (method and column.key == "difference"):
                continue
            read = (_of_column(run, column, runs) for run in own[:seeds])
            values = [value for value in read if value is not None]
            recomputed = {
                "mean": fmean(values) if values else math.nan,
                "std": stdev(values) if len(values) > 1 else math.nan,
                "count": float(len(values)),
            }
            for statistic, value in recomputed.items():
                key = f"{column.key}_{statistic}"
                stored = _number(row, key)
                if statistic == "count" and math.isnan(stored):  # a row without a run
                    stored = 0.0
                yield Check(row["dataset"], row["method"], place, key, stored, value)


def _read_table(path: Path, *columns: str) -> pd.DataFrame:
    """Read a table that has a text in every cell of `columns`."""
    table = pd.read_csv(path, dtype=dict.fromkeys(columns, str))
    for column in columns:
        if table[column].isna().any():
            raise ValueError(f"a row without {column}")
    return table


def _of_claims(path: Path, runs: Sequence[Run]) -> Iterator[Check]:
    """Check the effect, interval, p-value and verdict of each claim by all runs."""
    # Imported here: statistics take long to load, and the other checks do without them.
    from scwm.reporting.tables.claim_table import claim_frame
    from scwm.reporting.tables.claims import evaluate_claims, load_claims

    table = _read_table(path, "dataset", "claim", "kind")
    datasets = tuple(dict.fromkeys(table["dataset"]))
    seeds = tuple(sorted({run.seed for run in runs}))
    named = tuple(dict.fromkeys(table.loc[table["kind"] == "required", "claim"]))
    methods = tuple(dict.fromkeys(run.method for run in runs))
    again = claim_frame(
        evaluate_claims(load_claims(), Runs(datasets, methods, seeds, tuple(runs), claims=named))
    )
    found = {(row["dataset"], row["claim"]): row for row in again.to_dict("records")}
    for row in table.to_dict("records"):
        name = row["dataset"], row["claim"]
        if name not in found:
            raise ValueError(f"unknown claim: {name[1]} on {name[0]}")
        place = f"{path.name}, {row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
        for key in ("effect", "low", "high", "p_value"):
            yield Check(*name, place, key, _number(row, key), _number(found[name], key))
        yield Check(*name, place, "verdict", str(row["verdict"]), found[name]["verdict"])


def _of_column(run: Run, column: Measure, runs: Sequence[Run]) -> float | None:
    """Read a measure of a run, or the difference of its mAP to the reference's of its seed."""
    if column.key != "difference":
        return read_measure(run, column)
    pair = run.dataset, REFERENCE, run.seed
    base = [one.metrics["mAP"] for one in runs if (one.dataset, one.method, one.seed) == pair]
    known = run.method != REFERENCE and None not in (run.metrics["mAP"], *base) and base
    return run.metrics["mAP"] - base[0] if known else None
