"""Tables, figures and the report, all read from the folders of finished runs."""

from collections.abc import Iterable
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import PLOTS, TABLES, methods_of

# The rest is imported where it is needed: the help of every command asks for the names alone.
__all__ = ["PLOTS", "TABLES", "page", "plot", "table"]


def table(
    name: str,
    root: Path,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    out: Path,
    partial: bool = False,
    metrics: Path | None = None,
) -> list[Path]:
    """Write the table `name` of `TABLES` to `out`.csv, .md, .html and .tex.

    Args:
        metrics: a JSON file for the same figures, as `dvc metrics` reads them.

    Raises:
        ScwmError: where runs are missing and `partial` is false.
    """
    from scwm.reporting.runs import load_runs
    from scwm.reporting.tables import tables

    runs = load_runs(root, datasets, methods_of(name, methods), seeds, partial)
    if name == "published":
        from scwm.reporting.tables import published as made

        parts = (
            made.published_table(runs),
            made.published_frame(runs),
            made.nested_scores(runs),
        )
    elif name == "claims":
        # Imported here: statistics take long to load, and the other tables do without them.
        from scwm.reporting.tables import claim_table, claims

        outcomes = claims.evaluate_claims(claims.load_claims(), runs)
        parts = (
            claim_table.claim_table(outcomes, runs),
            claim_table.claim_frame(outcomes),
            claim_table.nested_effects(outcomes),
        )
    else:
        parts = (
            tables.build_table(name, runs),
            tables.summarise(name, runs),
            tables.nested_means(name, runs),
        )
    return tables.write_files(*parts, out, metrics)


def plot(
    name: str,
    root: Path,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    out: Path,
    partial: bool = False,
) -> list[Path]:
    """Write the figure `name` of `PLOTS` to `out`.png and .svg.

    Raises:
        ScwmError: where runs or their pictures are missing and `partial` is false.
    """
    if name not in PLOTS:
        raise ScwmError(f"no plot named {name!r}", remedy=f"choose one of {', '.join(PLOTS)}")
    # Imported here: the plotting libraries take seconds to load, and tables do without them.
    from scwm.reporting.figures import catalogue as figures
    from scwm.reporting.figures import style
    from scwm.reporting.runs import load_runs

    runs = load_runs(root, datasets, methods_of(name, methods), seeds, partial)
    with style.figure_style():
        return style.save(figures.FIGURES[name](runs, partial), out)


def page(
    tables: Path,
    plots: Path,
    root: Path,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    out: Path,
    partial: bool = False,
) -> list[Path]:
    """Write the report `out` from the runs, the tables' folder and the plots' folder.

    Raises:
        ScwmError: where runs, tables or plots are missing and `partial` is false.
    """
    from scwm.reporting.report import write_page
    from scwm.reporting.runs import load_runs

    runs = load_runs(root, datasets, methods, seeds, partial)
    return [write_page(runs, tables, plots, out, partial)]
