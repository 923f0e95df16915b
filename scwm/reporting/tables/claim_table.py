"""Outcomes of the claims as a table."""

from pathlib import Path

import pandas as pd

from scwm.core.errors import ScwmError
from scwm.core.measures import Measure
from scwm.reporting.catalogue import TITLES
from scwm.reporting.markup import UNKNOWN, Block, Cell, Table
from scwm.reporting.runs import Runs
from scwm.reporting.tables.claims import Outcome, bootstrap_interval

HEADER = (
    *("Claim", "Statement", "Comparison", "Seeds", "Effect", "95 % interval", "Bootstrap"),
    *("At least", "Verdict"),
)
CAPTION = (
    "Effect: mean of the paired differences over the seeds, positive where it is in the claim's "
    "favour; in points (hundredths) except for ratios, rank correlations, numbers of masks and "
    "cosines. Held: the effect is at least what is required and Student's 95 % interval lies "
    "above 0; not held: it is at most what is required; else undecided. The "
    "bootstrap's percentile interval is too narrow for so few seeds and is not used for verdicts. "
    f"{UNKNOWN}: unknown."
)
LISTED = ("required", "informative")


def claim_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Build one row per data set and claim; effects in the metric's own unit, NaN if unknown."""
    rows = []
    for one in outcomes:
        low, high = one.interval or (None, None)
        several = len(one.effects) > 1
        bootstrap = bootstrap_interval(one.effects) if several else (None, None)
        rows.append(
            {
                "dataset": one.dataset,
                "claim": one.claim.name,
                "kind": one.claim.kind,
                "statement": one.claim.statement,
                "comparison": str(one.claim),
                "seeds": len(one.effects),
                "effect": one.effect,
                "low": low,
                "high": high,
                "bootstrap_low": bootstrap[0],
                "bootstrap_high": bootstrap[1],
                "at_least": one.claim.at_least,
                "verdict": one.verdict,
                "missing": "; ".join(one.missing),
            }
        )
    return pd.DataFrame(rows)


def check_claims(table: Path) -> str:
    """Count the verdicts of required claims in a table's CSV.

    Raises:
        ScwmError: the file is not such a table, or a required claim is not held.
    """
    try:
        claims = pd.read_csv(table).query("kind == 'required'")
    except (OSError, ValueError, pd.errors.UndefinedVariableError) as error:
        raise ScwmError(
            f"Not a table of claims: {error}", table, "make it with `scwm table claims`"
        ) from error
    broken = claims[claims["verdict"] == "not held"]
    if len(broken):
        lines = [
            f"  {row.claim} on {row.dataset}: {row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}], "
            f"at least {row.at_least:+.3f} is required; {row.statement}"
            for row in broken.itertuples()
        ]
        raise ScwmError(
            "Required claims are not held:\n" + "\n".join(lines),
            table,
            "find the change that caused it (docs/discussion.md explains each measurement)",
        )
    counts = claims["verdict"].value_counts()
    return "required claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def claim_table(outcomes: list[Outcome], runs: Runs) -> Table:
    """Format the claims as text cells, a block per data set, required ones first."""
    blocks = []
    for dataset in runs.datasets:
        groups: dict[str, list[list[Cell]]] = {}
        for kind in LISTED:
            own = [o for o in outcomes if o.dataset == dataset and o.claim.kind == kind]
            if own:
                groups[kind] = [_cells(outcome) for outcome in own]
        notes = dict.fromkeys(run.metrics.get("label_note") or "" for run in runs.of(dataset))
        if groups:
            blocks.append(Block(dataset, tuple(filter(None, notes)), HEADER, groups))
    gaps = tuple(map(str, runs.gaps))
    return Table("claims", TITLES["claims"], CAPTION, tuple(blocks), gaps)


def nested_effects(outcomes: list[Outcome]) -> dict[str, dict[str, dict[str, float]]]:
    """Build {dataset: {claim: {effect, low, high}}}, rounded, without unknown values."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for one in outcomes:
        low, high = one.interval or (None, None)
        values = {"effect": one.effect, "low": low, "high": high}
        known = {key: round(value, 6) for key, value in values.items() if value is not None}
        nested.setdefault(one.dataset, {})[one.claim.name] = known
    return nested


def _cells(outcome: Outcome) -> list[Cell]:
    claim, several = outcome.claim, len(outcome.effects) > 1
    unit, decimals = ("%", 1) if claim.scale == 100 else ("", 3)
    measure = Measure("effect", "Effect", unit, decimals=decimals, signed=True)

    def show(value: float | None) -> str:
        return UNKNOWN if value is None else measure.show(value)

    def span(interval: tuple[float, float] | None) -> str:
        return " to ".join(map(show, interval)) if interval else UNKNOWN

    verdict = outcome.verdict
    if outcome.missing:
        verdict += f" ({'; '.join(outcome.missing)})"
    return [
        Cell(claim.name, "name"),
        Cell(claim.statement, "text"),
        Cell(str(claim), "text"),
        Cell(str(len(outcome.effects))),
        Cell(show(outcome.effect)),
        Cell(span(outcome.interval)),
        Cell(span(bootstrap_interval(outcome.effects) if several else None)),
        Cell(show(claim.at_least)),
        Cell(verdict, "text"),
    ]
