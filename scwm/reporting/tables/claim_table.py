"""Outcomes of the claims as a table."""

from pathlib import Path
from typing import Any

import pandas as pd

from scwm.core.errors import ScwmError
from scwm.core.freeze import read_freeze
from scwm.reporting.catalogue import TITLES
from scwm.reporting.markup import UNKNOWN, Block, Cell, Table, notes_of
from scwm.reporting.runs import Runs
from scwm.reporting.tables.claims import Outcome, load_claims

HEADER = (
    *("Claim", "Statement", "Comparison", "Seeds", "Effect", "95 % interval", "At least"),
    *("p-value", "Verdict", "Smallest decidable effect"),
)
CAPTION = (
    "Effect: mean of the paired differences over the seeds, positive where it is in the claim's "
    "favour; in points (hundredths) except for ratios, rank correlations, numbers of masks and "
    "cosines. p-value: of Student's two-sided test of the effect against what is required, for "
    "the required claims of a data set corrected for their number (Holm); the interval is not. At "
    "most 0.05 decides: held if the effect is at least what is required, else refuted. Smallest "
    "decidable effect: at these values or beyond, an undecided claim is refuted or held. "
    f"{UNKNOWN}: unknown."
)
LISTED = ("required", "informative")


def claim_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Build one row per data set and claim; effects in the metric's own unit, NaN if unknown."""
    rows = []
    for one in outcomes:
        low, high = one.interval or (None, None)
        decidable = one.decidable or (None, None)
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
                "at_least": one.claim.at_least,
                "p_value": one.p_value,
                "verdict": one.verdict,
                "decidable_low": decidable[0],
                "decidable_high": decidable[1],
                "since_freeze": one.claim.since_freeze,
                "missing": "; ".join(one.missing),
            }
        )
    return pd.DataFrame(rows)


_READ = (
    *("claim", "dataset", "statement", "verdict", "effect", "low", "high", "at_least"),
    *("missing", "since_freeze"),
)


def check_table(table: Path) -> str:
    """Count the verdicts of the required claims in a table's CSV, and name the undecided ones.

    Raises:
        ScwmError: the file is not such a table, it has no required claim, or one of them fails: it
            is refuted, not run, on one seed, undecided with an effect below what is required,
            lacks seeds, or was altered after the freeze; or a frozen claim has no file any more.
    """
    frozen = read_freeze()
    changes = frozen.changes() if frozen else {}
    gone = [n for n, how in changes.items() if how == "missing" and n.startswith("config/claims/")]
    if gone:
        remedy = "restore it from git: a claim is refuted or held, not deleted"
        raise ScwmError("A frozen claim is missing.", ", ".join(gone), remedy)
    try:
        everything = pd.read_csv(table)
        claims = everything.query("kind == 'required'")
        undecided = claims.query("verdict == 'undecided' and effect >= at_least")
        passing = claims["verdict"].eq("held") | claims.index.isin(undecided.index)
        changed = claims["since_freeze"].eq("altered")
        failed = claims.loc[~passing | changed | claims["missing"].notna(), list(_READ)]
    except KeyError as error:
        raise ScwmError(
            f"Not a table of claims: it has no {error}", table, "make it with `scwm table claims`"
        ) from error
    except (OSError, ValueError, TypeError, pd.errors.UndefinedVariableError) as error:
        raise ScwmError(
            f"Not a table of claims: {error}", table, "make it with `scwm table claims`"
        ) from error
    if claims.empty:
        raise ScwmError("The table has no required claim.", table, "see `claims` in docs/config.md")
    if len(failed):
        raise ScwmError(
            "Required claims fail:\n" + "\n".join(map(_failure, failed.itertuples())),
            table,
            "refuted or undecided: find the change that caused it (docs/discussion.md explains "
            "each measurement); not run or one seed: make these runs, or name in `claims` of the "
            "benchmark's config only the claims that it can decide",
        )
    counts = claims["verdict"].value_counts()
    lines = ["required claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())]
    lines += [
        f"undecided with an effect of at least what is required: {row.claim} on {row.dataset}"
        for row in undecided.itertuples()
    ]
    asked = set(zip(claims["claim"], claims["dataset"], strict=True))
    left_out = {
        (claim.name, dataset)
        for claim in load_claims()
        for dataset in everything["dataset"].unique()
        if claim.kind == "required" and dataset in claim.datasets
    } - asked
    if left_out:
        lines.append(f"required claims that this benchmark does not name: {len(left_out)}")
    return "\n".join(lines)


def _failure(row: Any) -> str:
    """Describe a failed claim in one line, from its row of the table."""
    found = f"{row.verdict}, {row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    if row.verdict in ("not run", "one seed"):
        found = row.verdict
    if not pd.isna(row.missing):
        found += f" ({row.missing})"
    if row.since_freeze == "altered":
        found += ", altered after the freeze"
    asked = f"at least {row.at_least:+.3f} is required"
    return f"  {row.claim} on {row.dataset}: {found}, {asked}; {row.statement}"


def claim_table(outcomes: list[Outcome], runs: Runs) -> Table:
    """Format the claims as text cells, a block per data set, required ones first."""
    blocks = []
    for dataset in runs.datasets:
        groups: dict[str, list[list[Cell]]] = {}
        for kind in LISTED:
            own = [o for o in outcomes if o.dataset == dataset and o.claim.kind == kind]
            if own:
                groups[kind] = [_cells(outcome) for outcome in own]
        notes = notes_of((run.method, run.metrics.get("label_note")) for run in runs.of(dataset))
        if groups:
            blocks.append(Block(dataset, notes, HEADER, groups))
    gaps = tuple(map(str, runs.gaps))
    return Table("claims", TITLES["claims"], CAPTION, tuple(blocks), gaps)


def _cells(outcome: Outcome) -> list[Cell]:
    claim, show = outcome.claim, outcome.claim.show
    interval, decidable = outcome.interval, outcome.decidable
    verdict = outcome.verdict
    if outcome.missing:
        verdict += f" ({'; '.join(outcome.missing)})"
    since = f" ({claim.since_freeze} after the freeze)" if claim.since_freeze else ""
    return [
        Cell(claim.name, "name"),
        Cell(claim.statement + since, "text"),
        Cell(str(claim), "text"),
        Cell(str(len(outcome.effects))),
        Cell(show(outcome.effect)),
        Cell(" to ".join(map(show, interval)) if interval else UNKNOWN),
        Cell(show(claim.at_least)),
        Cell(_p_value(outcome.p_value)),
        Cell(verdict, "text"),
        Cell(f"≤ {show(decidable[0])}, ≥ {show(decidable[1])}" if decidable else UNKNOWN),
    ]


def _p_value(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
