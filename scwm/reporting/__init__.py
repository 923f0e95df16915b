"""Tables, figures and the report, all read from the folders of finished runs."""

from collections.abc import Iterable
from pathlib import Path

from scwm.errors import ScwmError
from scwm.reporting.page import write_page
from scwm.reporting.runs import load_runs
from scwm.reporting.tables import write_files, write_table

TABLES = ("claims", "main", "ablation")
PLOTS = ("claims", "curves", "pseudo_labels", "ablation", "masks", "ranks")


def table(
    name: str,
    root: Path,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    out: Path,
    partial: bool = False,
) -> list[Path]:
    """Write the table `name` of `TABLES` to `out`.csv, .md, .html and .json.

    Raises:
        ScwmError: where runs are missing and `partial` is false.
    """
    runs = load_runs(root, datasets, methods, seeds, partial)
    if name != "claims":
        return write_table(name, runs, out)
    # Imported here: statistics take long to load, and the other tables do without them.
    from scwm.reporting import claim_table, claims

    outcomes = claims.evaluate_claims(claims.load_claims(), runs)
    shown = claim_table.claim_table(outcomes, runs)
    nested = claim_table.nested_effects(outcomes)
    return write_files(shown, claim_table.claim_frame(outcomes), nested, out)


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
    from scwm.reporting import bars, claims, curves, forest, galleries, style

    runs = load_runs(root, datasets, methods, seeds, partial)
    with style.figure_style():
        if name == "claims":
            outcomes = claims.evaluate_claims(claims.load_claims(), runs)
            figure = forest.forest_plot(outcomes, runs)
        elif name == "curves":
            figure = curves.training_curves(runs)
        elif name == "pseudo_labels":
            figure = curves.pseudo_label_curves(runs)
        elif name == "ablation":
            figure = bars.ablation_bars(runs)
        elif name == "masks":
            figure = galleries.mask_gallery(runs, partial)
        else:
            figure = galleries.rank_lists(runs, partial)
        return style.save(figure, out)


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
    runs = load_runs(root, datasets, methods, seeds, partial)
    return [write_page(runs, tables, plots, out, partial)]
