"""Commands on finished runs: tables, plots, the report and its claims."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scwm import reporting
from scwm.cli.options import Parsers, command, json_option, print_json, print_table


def add(parsers: Parsers) -> None:
    """Add `table`, `plot`, `page`, `dashboard`, `check`, `compare` and `verify`."""
    made = _add_report(
        parsers,
        "table",
        lambda o: report(reporting.table, o.name, options=o),
        "write a table of finished runs; --out without suffix",
        "scwm table main --datasets mannequins --methods scwm global_only \\",
        "    --seeds 0 --out results/tables/main",
    )
    _add_name(made, reporting.TABLES)
    made = _add_report(
        parsers,
        "plot",
        lambda o: report(reporting.plot, o.name, options=o),
        "draw a figure of finished runs; --out without suffix",
        "scwm plot curves --datasets mannequins --methods scwm global_only \\",
        "    --seeds 0 --out results/plots/curves",
    )
    _add_name(made, reporting.PLOTS)
    made = _add_report(
        parsers,
        "page",
        lambda o: report(reporting.page, o.plots, options=o),
        "write the report: one page that needs no network",
        "scwm page --datasets mannequins --methods scwm global_only --seeds 0 \\",
        "    --plots results/plots --out results/report.html",
    )
    made.add_argument("--plots", type=Path, required=True, help="folder of the plots")
    watching = command(
        parsers,
        "dashboard",
        dashboard,
        "draw the history of trainings on a page that needs no network",
        "scwm dashboard results/runs/mannequins/scwm/seed0 --out dashboard.html",
    )
    watching.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    watching.add_argument("--out", type=Path, required=True)
    checking = command(
        parsers,
        "check",
        check,
        "fail if a required claim is refuted, not run or on one seed",
        "scwm check results/tables/claims.csv",
    )
    checking.add_argument("table", type=Path, help="claims.csv")
    comparing = command(
        parsers,
        "compare",
        compare,
        "compare two runs, or two methods over seeds",
        "scwm compare results/runs/mannequins/global_only results/runs/mannequins/scwm",
    )
    for side in ("first", "second"):
        comparing.add_argument(
            side, type=Path, metavar="RUN", help="a run, or a method's folder with seed0, seed1, …"
        )
    json_option(comparing)
    verifying = command(
        parsers,
        "verify",
        verify,
        "recompute metrics and tables of scores from stored files",
        "scwm verify results",
        "scwm verify results --dataset mannequins --method scwm --seed 0 --measure mAP",
    )
    verifying.add_argument("results", type=Path, help="folder that holds runs/ and tables/")
    verifying.add_argument("--dataset", help="only this one")
    verifying.add_argument("--method", help="only this one")
    verifying.add_argument("--seed", type=int, help="only this one, and no table")
    verifying.add_argument("--measure", help="only this one, each value on a line: mAP, rank1 …")


def _add_name(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))


def _add_report(parsers: Parsers, *words: Any) -> argparse.ArgumentParser:
    parser = command(parsers, *words)
    parser.add_argument("--runs", type=Path, default=Path("results/runs"))
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    parser.add_argument(
        "--transfer", nargs="+", default=[], metavar="DATASET", help="other data sets scored on"
    )
    parser.add_argument("--claims", nargs="+", help="claims that may be required; default: all")
    parser.add_argument("--partial", action="store_true", help="show gaps for missing runs")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def report(make: Callable[..., list[Path]], *first: Any, options: argparse.Namespace) -> None:
    """`scwm table`, `plot` and `page`: make a file from the runs."""
    from scwm.core.claim_files import check_claims

    check_claims(options.claims or (), options.datasets, "--claims")
    keys = ("datasets", "methods", "seeds", "transfer", "claims", "partial")
    asked = reporting.Request(options.runs, **{key: getattr(options, key) for key in keys})
    for path in make(*first, asked, options.out):
        print(path)


def dashboard(options: argparse.Namespace) -> None:
    """`scwm dashboard`: draw losses, pseudo labels and times of one run or several."""
    from scwm.reporting.dashboard import write_dashboard

    write_dashboard(options.runs, options.out)
    print(options.out)


def check(options: argparse.Namespace) -> None:
    """`scwm check`: check whether the required claims hold."""
    from scwm.reporting.tables.claim_table import check_table

    print(check_table(options.table))


def compare(options: argparse.Namespace) -> None:
    """`scwm compare`: show the differences of all measures, with intervals."""
    from scwm.reporting.compare import PLANNED, as_json, cells, compare
    from scwm.reporting.paired import POWER

    found = compare(options.first, options.second)
    if options.json:
        print_json(as_json(found))
        return
    print(f"first:  {found.names[0]}\nsecond: {found.names[1]}\n{found.basis}\n")
    print_table(list(cells(found)), right=(1, 2, 3))
    if found.seeds_needed:
        effect, power = f"a difference of {PLANNED:g} mAP", f"power {100 * POWER:g} %"
        print(f"\n{found.seeds_needed} paired seeds decide {effect} with {power}.")


def verify(options: argparse.Namespace) -> None:
    """`scwm verify`: check whether results follow from the stored files."""
    from scwm.reporting.verify import verify

    chosen = options.dataset, options.method, options.seed, options.measure
    found = verify(options.results, *chosen)
    print_table(found.rows(each=options.measure is not None))
    if found.left_out:
        print(found.unverified())
    for runs in sorted(options.results.glob("*/runs")):
        print(f"not checked: {runs.parent} (give this folder)")
    print(found.confirm(options.results))
