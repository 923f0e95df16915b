"""Tables, figures and the report, from the folders of finished runs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import PLOTS, TABLES, Request, asked, methods_of

if TYPE_CHECKING:
    import pandas as pd

    from scwm.reporting.markup import Table
    from scwm.reporting.runs import Runs

# Functions import the rest: the help of every command needs only the names.
__all__ = ["PLOTS", "TABLES", "Request", "page", "plot", "table"]


def table(name: str, wanted: Request, out: Path) -> list[Path]:
    """Write the table `name` of `TABLES` to `out`.csv, .md, .html and .tex.

    Raises:
        ScwmError: runs are missing and the request is not partial.
    """
    from scwm.reporting.runs import freeze_note, load_runs
    from scwm.reporting.tables.tables import write_files

    runs = load_runs(wanted.of(name))
    shown, frame = _table(name, _scored(name, runs, wanted))
    shown = replace(shown, caption=f"{shown.caption} {freeze_note(runs)}")
    return write_files(shown, frame, out)


def _scored(name: str, runs: "Runs", wanted: Request) -> "Runs":
    """Return the runs of a table or figure with the scores that it shows."""
    from scwm.reporting.runs import transferred

    return transferred(runs, wanted.transfer, wanted.partial) if name == "transfer" else runs


def _table(name: str, runs: "Runs") -> tuple["Table", "pd.DataFrame"]:
    """Build the table `name` as text cells, and its numbers as a frame."""
    if name == "published":
        from scwm.reporting.tables import published as made

        return made.published_table(runs), made.published_frame(runs)
    if name == "claims":
        # Imported here: statistics take long to load, and the other tables do without them.
        from scwm.reporting.tables import claim_table
        from scwm.reporting.tables.claims import evaluate_claims, load_claims

        found = evaluate_claims(load_claims(), runs)
        return claim_table.claim_table(found, runs), claim_table.claim_frame(found)
    from scwm.reporting.tables import tables

    return tables.build_table(name, runs), tables.summarise(name, runs)


def plot(name: str, wanted: Request, out: Path) -> list[Path]:
    """Write the figure `name` of `PLOTS` to `out`.png and .svg.

    Raises:
        ScwmError: runs or their images are missing and the request is not partial.
    """
    if name not in PLOTS:
        raise ScwmError(f"no plot named {name!r}", remedy=f"choose one of {', '.join(PLOTS)}")
    # Imported here: the plotting libraries take seconds to load, and tables do without them.
    from scwm.reporting.figures import catalogue as figures
    from scwm.reporting.figures import style
    from scwm.reporting.runs import load_runs

    runs = load_runs(wanted.of(name))
    with style.figure_style():
        shown = _scored(name, runs, wanted)
        return style.save(figures.FIGURES[name](shown, wanted.partial), out)


def page(plots: Path, wanted: Request, out: Path) -> list[Path]:
    """Write the report `out`, and summary.md next to it, from the runs and the plots' folder.

    Raises:
        ScwmError: runs or plots are missing and the request is not partial.
    """
    from scwm.reporting.report import write_page
    from scwm.reporting.runs import load_runs

    runs = load_runs(wanted)
    tables = {}
    for name in asked(TABLES, runs.datasets, wanted.transfer):
        own = runs.of_methods(methods_of(name, runs.methods))
        tables[name] = _table(name, _scored(name, own, wanted))[0]
    return write_page(runs, tables, plots, out, wanted.partial)
