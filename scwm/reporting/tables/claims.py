"""The method's claims as measurements: effects paired over the seeds, and their verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scwm.core.claim_files import read_claim
from scwm.core.config import method_names
from scwm.core.errors import ScwmError
from scwm.core.freeze import read_freeze
from scwm.core.measures import Measure, locate, measure_at
from scwm.core.yaml_files import CONFIG_DIR
from scwm.data.entries import data_names
from scwm.reporting.markup import UNKNOWN
from scwm.reporting.measures import read_source
from scwm.reporting.paired import (
    LEVEL,
    ROUNDING,
    equal_by_chance,
    half_width,
    holm,
    t_interval,
    t_test,
)
from scwm.reporting.runs import Run, Runs

CLAIMS = CONFIG_DIR / "claims"


@dataclass(frozen=True)
class Side:
    """A metric of a method; `value` replaces both if the rival is a number."""

    method: str
    metric: str
    value: float | None = None


@dataclass(frozen=True)
class Claim:
    """One file of config/claims; docs/contributing.md explains each key.

    Attributes:
        since_freeze: added or altered after the freeze; "" if neither, or nothing is frozen.
    """

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
    since_freeze: str = ""

    def show(self, effect: float | None) -> str:
        """Format an effect: in points with a sign, or with three decimals if it is no score."""
        if effect is None:
            return UNKNOWN
        unit, decimals = ("%", 1) if self.scale == 100 else ("", 3)
        return Measure("effect", "Effect", unit, decimals=decimals, signed=True).show(effect)

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
        p_value: of Student's test of the effects against `at_least`, see `decide`; None below two
            seeds.
        tests: number of tests by which the level of an undecided claim is divided.
    """

    claim: Claim
    dataset: str
    effects: tuple[float, ...]
    missing: tuple[str, ...] = ()
    p_value: float | None = None
    tests: int = 1

    @property
    def effect(self) -> float | None:
        """The mean effect over the seeds."""
        return float(np.mean(self.effects)) if self.effects else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `t_interval`, not corrected.

        None below two seeds, and where two are `equal_by_chance`.
        """
        few = len(self.effects) < 2 or equal_by_chance(self.effects)
        return None if few else t_interval(self.effects)

    @property
    def reached(self) -> bool:
        """Whether the effect is as large as required, decided or not.

        An effect of 0 does not reach an `at_least` of 0: two sides that are equal on all seeds are
        the sign of a component without effect.
        """
        if self.effect is None:
            return False
        asked = self.claim.at_least
        return self.effect >= asked - ROUNDING if asked else self.effect > ROUNDING

    @property
    def verdict(self) -> str:
        """The verdict: held, refuted, undecided, one seed or not run.

        A p-value of at most 5 % decides: the claim is held if its effect reaches `at_least`, and
        refuted if it does not.
        """
        if self.effect is None:
            return "not run"
        if self.p_value is None:
            return "one seed"
        if self.p_value > LEVEL:
            return "undecided"
        return "held" if self.reached else "refuted"

    @property
    def decidable(self) -> tuple[float, float] | None:
        """The smallest effects, below and above `at_least`, that are decided with these seeds.

        They are the ends of the interval, at the corrected level, around `at_least`. None unless
        the claim is undecided.
        """
        if self.verdict != "undecided" or self.interval is None:
            return None
        half = half_width(self.effects, LEVEL / self.tests)
        return self.claim.at_least - half, self.claim.at_least + half


def load_claims(folder: Path = CLAIMS) -> tuple[Claim, ...]:
    """Read and check the claims, one per file, in the order of their names.

    Raises:
        ScwmError: a key, method or value of a claim is unknown, missing or wrong.
    """
    found = read_freeze()
    changes = found.changes() if found else {}
    return tuple(
        replace(_claim(path), since_freeze=changes.get(f"config/claims/{path.name}", ""))
        for path in sorted(folder.glob("*.yaml"))
    )


def _claim(path: Path) -> Claim:
    entry, where = read_claim(path), f"{path}, claim '{path.stem}'"
    against, given = entry.against, entry.against.model_fields_set
    if not given or ("value" in given and len(given) > 1):
        raise ScwmError(
            "`against` must name another method, another metric or both, or only a value.", where
        )
    side = Side(entry.method, entry.metric)
    rival = Side(against.method or side.method, against.metric or side.metric, against.value)
    for one in (side, rival):
        if one.method not in method_names():
            known = ", ".join(method_names())
            raise ScwmError(f"Unknown method '{one.method}'.", where, f"choose one of: {known}")
        try:
            measure_at(one.metric)
        except ScwmError as error:
            raise ScwmError(error.what, where, error.remedy) from error
    known_data = data_names()
    datasets = known_data if entry.datasets is None else entry.datasets
    files = (locate(one.metric)[0] for one in (side, rival))
    others = [file.removeprefix("transfer/") for file in files if file.startswith("transfer/")]
    if unknown := [name for name in [*datasets, *others] if name not in known_data]:
        raise ScwmError(f"Unknown data set '{unknown[0]}'.", where, ", ".join(known_data))
    if side == rival and against.times == 1:
        raise ScwmError(f"The claim compares {side.metric} of {side.method} with itself.", where)
    measure = measure_at(side.metric)
    return Claim(
        name=path.stem,
        statement=entry.statement,
        side=side,
        rival=rival,
        kind=entry.kind,
        times=against.times,
        at_least=entry.at_least,
        sign=-1 if measure.better == "lower" else 1,
        scale=100.0 if measure.unit == "%" else 1.0,
        datasets=tuple(datasets),
    )


def evaluate_claims(claims: Sequence[Claim], runs: Runs) -> list[Outcome]:
    """Compute the outcomes for each data set, in the claims' order.

    A claim that the benchmark does not name (`Runs.claims`) is informative.

    Raises:
        ScwmError: the runs do not have a claim's metric.
    """
    named = runs.claims
    claims = [
        one if named is None or one.name in named else replace(one, kind="informative")
        for one in claims
    ]
    outcomes: list[Outcome] = []
    for dataset in runs.datasets:
        outcomes += decide([_evaluate(c, dataset, runs) for c in claims if dataset in c.datasets])
    return outcomes


def decide(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Add the p-values, which the verdicts follow from, to the outcomes of one data set.

    Holm's step-down corrects the required claims with two seeds or more for their number. The next
    of them to be decided must pass the level divided by the number of those that are undecided.
    Informative claims are not corrected.
    """
    tested = [one for one in outcomes if len(one.effects) > 1]
    p_values = {one.claim.name: t_test(one.effects, one.claim.at_least) for one in tested}
    family = [one.claim.name for one in tested if one.claim.kind == "required"]
    corrected = dict(zip(family, holm([p_values[name] for name in family]), strict=True))
    undecided = sum(p_value > LEVEL for p_value in corrected.values())
    p_values |= corrected
    return [
        replace(
            one,
            p_value=p_values.get(one.claim.name),
            tests=undecided if one.claim.name in corrected else 1,
        )
        for one in outcomes
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
