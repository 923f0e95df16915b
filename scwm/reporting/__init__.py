"""Tables, figures and the report, all read from the folders of finished runs."""

from collections.abc import Iterable
from pathlib import Path

from scwm.errors import ScwmError
from scwm.reporting.page import write_page
from scwm.reporting.runs import discover, load_runs
from scwm.reporting.tables import write_table

TABLES = ("main", "ablation")
PLOTS = ("curves", "pseudo_labels", "ablation", "masks", "ranks")


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
    return write_table(name, load_runs(root, datasets, methods, seeds, partial), out)


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
    from scwm.reporting import bars, curves, galleries, style

    runs = load_runs(root, datasets, methods, seeds, partial)
    with style.figure_style():
        if name == "curves":
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
    root: Path,
    tables: Path,
    plots: Path,
    out: Path,
    datasets: Iterable[str] | None = None,
    methods: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    partial: bool = False,
) -> Path:
    """Write the report `out` from the runs, the tables' folder and the plots' folder.

    Data sets, methods and seeds that are not given are those found below `root`.

    Raises:
        ScwmError: where runs, tables or plots are missing and `partial` is false.
    """
    found_datasets, found_methods, found_seeds = discover(root)
    # Names that were found need not all combine; only those that were asked for can be missing.
    found_only = datasets is None or methods is None or seeds is None
    runs = load_runs(
        root,
        found_datasets if datasets is None else datasets,
        found_methods if methods is None else methods,
        found_seeds if seeds is None else seeds,
        partial or found_only,
    )
    return write_page(runs, Path(tables), Path(plots), out, partial)
