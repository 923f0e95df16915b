"""Keep a benchmark's tables and figures, with their provenance, in results/recorded.

    python tools/record.py [--results results] [--runs RUNS] [--out results/recorded]

The folder is committed, so that a clone shows results before it runs anything; nothing else
writes there. Figures that show images are kept of rendered data sets alone. Runs must all be of one
commit without changes. Exit status 1 where they are not.
"""

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.data.entries import lookup
from scwm.reporting.catalogue import CAPTIONS, PLOTS, TABLES

ROOT = Path(__file__).parents[1]
SAME = ("commit", "dirty", "frozen", "data_hash", "weights_hash", "versions", "hardware")
PICTURES = ("masks", "ranks")  # show images of the data set
COLOURS = 128  # of a kept picture: a third of the bytes, and no difference to the eye


def shared(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Provenance that runs have in common; each value that occurs, where they differ.

    Raises:
        ScwmError: there are no runs, or they are not of one commit without changes.
    """
    records = list(records)
    found: dict[str, Any] = {}
    for key in SAME:
        texts = dict.fromkeys(json.dumps(record.get(key), sort_keys=True) for record in records)
        values = [json.loads(text) for text in texts]
        found[key] = values[0] if len(values) == 1 else values
    if not records or found["dirty"] is not False or not isinstance(found["commit"], str):
        raise ScwmError(
            f"The {len(records)} runs are not of one commit without changes: {found['commit']}.",
            remedy="commit, run the whole benchmark again, and record that",
        )
    return found


def record(results: Path, runs: Path, out: Path) -> None:
    """Replace what is recorded in `out` by the tables and figures of `results` and the provenance
    of their `runs`.

    Raises:
        ScwmError: a table or figure is missing; see also `shared`.
    """
    other = (results / "tables/transfer.csv").is_file()  # not every benchmark scores on one
    names = [name for name in TABLES if other or name != "transfer"]
    tables = [results / f"tables/{name}.{ending}" for name in names for ending in ("csv", "md")]
    main = results / "tables/main.csv"
    datasets = sorted(set(pd.read_csv(main)["dataset"])) if main.is_file() else []
    rendered = all(lookup(name).source.preset for name in datasets)
    left_out = () if rendered else PICTURES
    left_out += () if other else ("transfer",)
    plots = [name for name in PLOTS if name not in left_out]
    wanted = [*tables, *(results / f"plots/{name}.png" for name in plots)]
    absent = [path for path in wanted if not path.is_file()]
    if absent:
        raise ScwmError("Tables or figures are missing.", absent[0], "make the benchmark first")
    told = [p for name in datasets for p in sorted(runs.glob(f"{name}/*/seed*/provenance.json"))]
    provenance = shared(json.loads(path.read_text()) for path in told)
    provenance["runs"] = [f"runs/{path.parent.relative_to(runs)}" for path in told]
    for kind in ("tables", "plots"):
        shutil.rmtree(out / kind, ignore_errors=True)
        (out / kind).mkdir(parents=True)
    for path in tables:
        shutil.copyfile(path, out / "tables" / path.name)
    for name in plots:
        with Image.open(results / f"plots/{name}.png") as picture:
            small = picture.convert("RGB").quantize(COLOURS)
        small.save(out / f"plots/{name}.png", optimize=True)
    (out / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    (out / "README.md").write_text(index(provenance, datasets, names, plots))


def index(
    provenance: dict[str, Any], datasets: list[str], tables: list[str], plots: list[str]
) -> str:
    """The page that GitHub shows of the folder."""
    hardware = provenance["hardware"]
    machines = hardware if isinstance(hardware, list) else [hardware]
    lines = [
        f"# Recorded results: {', '.join(datasets)}",
        "",
        f"{len(provenance['runs'])} runs at commit `{provenance['commit'][:10]}`, on "
        + "; ".join(f"{m['processor']}, {m['cores']} cores, GPU: {m['gpu']}" for m in machines)
        + ". Written by `tools/record.py`; versions, hashes: [provenance.json](provenance.json).",
        "",
        *(f"- [{name}](tables/{name}.md) ([CSV](tables/{name}.csv))" for name in tables),
        "",
    ]
    for name in plots:
        lines += [f"![{CAPTIONS[name]}](plots/{name}.png)", "", CAPTIONS[name], ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--runs", type=Path, help="default: those of the results")
    parser.add_argument("--out", type=Path, default=ROOT / "results/recorded")
    arguments = parser.parse_args()
    try:
        record(arguments.results, arguments.runs or arguments.results / "runs", arguments.out)
    except ScwmError as error:
        raise SystemExit(f"error: {error}") from error
    print(arguments.out)


if __name__ == "__main__":
    main()
