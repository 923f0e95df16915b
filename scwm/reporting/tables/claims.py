"""The method's claims as measurements: effects paired over the seeds, and their verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scwm.core.config import method_names
from scwm.core.errors import ScwmError
from scwm.core.measures import measure_at
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.entries import data_names
from scwm.reporting.measures import read_source
from scwm.reporting.runs import Run, Runs

CLAIMS = CONFIG_DIR / "claims"
LEVEL = 0.95
KEYS: dict[str, type | tuple[type, ...] | tuple[str, ...]] = {
    "statement": str,
    "metric": str,
    "method": str,
    "against": dict,
    "at_least": (int, float),
    "datasets": list,
    "except": list,
    "kind": ("required", "informative"),
}
OPTIONAL = ("at_least", "datasets", "except")
AGAINST = {"method": str, "metric": str, "value": (int, float), "times": (int, float)}


@dataclass(frozen=True)
class Side:
    """A metric of a method; `value` replaces both if the rival is a number."""

    method: str
    metric: str
    value: float | None = None


@dataclass(frozen=True)
class Claim:
    """One file of config/claims; docs/contributing.md explains each key."""

    name: str
    statement: str
    side: Side
    rival: Side
    kind: str
    times: float = 1.0
    at_least: float = 0.0
    sign: int = 1
    scale: float = 100.0
    datasets: tuple[str, ...] = ()

    def __str__(self) -> str:
        own, rival = self.side, self.rival
        if rival.value is not None:
            shared, first, second = own.method, own.metric, f"{rival.value:g}"
        elif own.method == rival.method:
            shared, first, second = own.method, own.metric, rival.metric
        elif own.metric == rival.metric:
            shared, first, second = own.metric, own.method, rival.method
        else:
            shared = "two measures"
            first, second = (f"{one.metric} of {one.method}" for one in (own, rival))
        if self.times != 1:
            second = f"{self.times:g} × {second}"
        first, second = (first, second)[:: self.sign]
        return f"{shared}: {first} − {second}"


@dataclass(frozen=True)
class Outcome:
    """The result of a claim in the runs of one data set.

    Attributes:
        effects: (n,) one for each seed with both values, in the metric's own unit.
        missing: reasons why other seeds have no effect.
    """

    claim: Claim
    dataset: str
    effects: tuple[float, ...]
    missing: tuple[str, ...] = ()

    @property
    def effect(self) -> float | None:
        """The mean effect over the seeds."""
        return float(np.mean(self.effects)) if self.effects else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of `t_interval`; None below two seeds."""
        return t_interval(self.effects) if len(self.effects) > 1 else None

    @property
    def verdict(self) -> str:
        """The verdict: held, not held, undecided, one seed or not run.

        Held: the mean effect reaches `at_least` and the interval lies above 0, or above a negative
        `at_least`. Not held: the interval does not exceed `at_least`; this includes equal sides of
        a claim that only requires "more".
        """
        if self.effect is None:
            return "not run"
        if self.interval is None:
            return "one seed"
        low, high = self.interval
        if self.effect >= self.claim.at_least and low > min(self.claim.at_least, 0.0):
            return "held"
        return "not held" if high <= self.claim.at_least else "undecided"


def t_interval(effects: Sequence[float]) -> tuple[float, float]:
    """Compute Student's 95 % interval of the mean of n >= 2 paired differences, for verdicts.

    With two to five seeds the bootstrap is not suitable: it resamples few values, so its intervals
    are too narrow. On normal differences, 1,000 draws, the percentile bootstrap covered the mean in
    48 %, 74 % and 83 % of cases for n = 2, 3 and 5 (BCa: 83 % for n = 5), and Student's interval in
    94 to 96 %. Student's interval assumes that the differences between seeds are about normal,
    which a mean over all queries of a run makes plausible.
    """
    half = stats.t.ppf((1 + LEVEL) / 2, len(effects) - 1) * stats.sem(effects)
    return float(np.mean(effects) - half), float(np.mean(effects) + half)


def bootstrap_interval(effects: Sequence[float], draws: int = 9999) -> tuple[float, float]:
    """Compute the percentile bootstrap 95 % interval of the mean; see `t_interval`."""
    values = np.asarray(effects)
    chosen = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[chosen].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def load_claims(folder: Path = CLAIMS) -> tuple[Claim, ...]:
    """Read and check the claims, one per file, in the order of their names.

    Raises:
        ScwmError: a key, method or value of a claim is unknown, missing or wrong.
    """
    return tuple(_claim(path) for path in sorted(folder.glob("*.yaml")))


def _claim(path: Path) -> Claim:
    entry, where = read_yaml(path), f"{path}, claim '{path.stem}'"
    _check(entry, KEYS, where)
    if absent := [key for key in KEYS if key not in entry and key not in OPTIONAL]:
        raise ScwmError(f"The claim lacks '{absent[0]}'.", where)
    against = entry["against"]
    _check(against, AGAINST, f"{where}, against")
    if not against or ("value" in against and len(against) > 1):
        raise ScwmError(
            "`against` must name another method, another metric or both, or only a value.", where
        )
    side = Side(entry["method"], entry["metric"])
    rival = Side(
        against.get("method", side.method), against.get("metric", side.metric), against.get("value")
    )
    for one in (side, rival):
        if one.method not in method_names():
            known = ", ".join(method_names())
            raise ScwmError(f"Unknown method '{one.method}'.", where, f"choose one of: {known}")
        try:
            measure_at(one.metric)
        except ScwmError as error:
            raise ScwmError(error.what, where, error.remedy) from error
    known_data = data_names()
    datasets, without = entry.get("datasets", known_data), entry.get("except", [])
    if unknown := [name for name in [*datasets, *without] if name not in known_data]:
        raise ScwmError(f"Unknown data set '{unknown[0]}'.", where, ", ".join(known_data))
    if side == rival and against.get("times", 1) == 1:
        raise ScwmError(f"The claim compares {side.metric} of {side.method} with itself.", where)
    measure = measure_at(side.metric)
    return Claim(
        name=path.stem,
        statement=entry["statement"],
        side=side,
        rival=rival,
        kind=entry["kind"],
        times=against.get("times", 1.0),
        at_least=entry.get("at_least", 0.0),
        sign=-1 if measure.better == "lower" else 1,
        scale=100.0 if measure.unit == "%" else 1.0,
        datasets=tuple(name for name in datasets if name not in without),
    )


def _check(entry: dict[str, Any], keys: dict[str, Any], where: str) -> None:
    for key, value in entry.items():
        if key not in keys:
            raise ScwmError(f"Unknown key '{key}'.", where, f"known: {', '.join(keys)}")
        rule = keys[key]
        choices = isinstance(rule, tuple) and all(isinstance(one, str) for one in rule)
        if (value not in rule) if choices else (not isinstance(value, rule)):
            wanted = ", ".join(getattr(one, "__name__", one) for one in np.atleast_1d(rule))
            raise ScwmError(f"'{key}' is {value!r}.", where, f"give one of: {wanted}")


def evaluate_claims(claims: Sequence[Claim], runs: Runs) -> list[Outcome]:
    """Compute the outcomes for each data set, in the claims' order.

    Raises:
        ScwmError: the runs do not have a claim's metric.
    """
    return [
        _evaluate(claim, dataset, runs)
        for dataset in runs.datasets
        for claim in claims
        if dataset in claim.datasets
    ]


def _evaluate(claim: Claim, dataset: str, runs: Runs) -> Outcome:
    found = {(run.method, run.seed): run for run in runs.of(dataset)}
    effects, missing = [], []
    for seed in runs.seeds:
        try:
            first, second = (_value(claim, side, found, seed) for side in (claim.side, claim.rival))
        except LookupError as error:
            missing.append(str(error.args[0]))
        else:
            effects.append(claim.sign * (first - claim.times * second))
    return Outcome(claim, dataset, tuple(effects), tuple(dict.fromkeys(missing)))


def _value(claim: Claim, side: Side, found: dict[tuple[str, int], Run], seed: int) -> float:
    """Return the value of one side for a seed; a LookupError gives the reason if there is none."""
    if side.value is not None:
        return side.value
    if (run := found.get((side.method, seed))) is None:
        among = any(method == side.method for method, _ in found)
        raise LookupError(f"no run of {side.method}" + (f" with seed {seed}" if among else ""))
    try:
        value = read_source(run, side.metric)
    except KeyError as error:
        raise ScwmError(
            f"Claim '{claim.name}': the run has no metric '{side.metric}'.",
            f"{run.folder}, {error.args[0]}",
            "correct it, or make the run again",
        ) from error
    except LookupError as error:
        raise LookupError(f"{side.method} seed {seed}: {error}") from error
    if value is None:
        raise LookupError(f"{side.method} seed {seed}: {side.metric} is unknown")
    return value
