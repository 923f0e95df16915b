"""Keep a benchmark's runs, tables and figures, with their provenance, in results/recorded.

    python tools/record.py [--results results] [--runs RUNS] [--out results/recorded]

The folder is committed, so that a clone shows results before it runs anything; nothing else
writes there. Of a run it keeps the small files that tables and figures read, not its model,
features or images. Runs of the same commit add up: a benchmark of many seeds may be made and
recorded in parts. Tables, and figures that show no features or images, are made from all recorded
runs. Figures that show images are kept of rendered data sets only. Runs must all be of one commit
without changes. Exit status 1 where they are not.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from scwm import reporting
from scwm.core.errors import ScwmError
from scwm.data.entries import lookup
from scwm.reporting.catalogue import CAPTIONS, PLOTS, TABLES, asked
from scwm.reporting.inputs import PICTURES, READ_OF_RUNS

ROOT = Path(__file__).parents[1]
SAME = ("commit", "dirty", "frozen", "data_hash", "weights_hash", "versions", "hardware")
KEPT = (*READ_OF_RUNS, "study.json", "transfer/*.json")  # of a run, if they exist
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
    """Add `runs` to those recorded in `out`, and replace its tables and figures.

    Recorded runs of another commit are removed.

    Raises:
        ScwmError: a table or figure of `results` is missing; see also `shared`.
    """
    main, sweeps = (results / f"tables/{name}.csv" for name in ("main", "sweeps"))
    if not main.is_file():
        raise ScwmError("Tables or figures are missing.", main, "make the benchmark first")
    rows = pd.read_csv(main)
    datasets = sorted(set(rows["dataset"]))
    rendered = all(lookup(name).source.preset for name in datasets)
    made = [name for name in PICTURES if rendered or PICTURES[name] != "visuals.npz"]
    if absent := [name for name in made if not (results / f"plots/{name}.png").is_file()]:
        path = results / f"plots/{absent[0]}.png"
        raise ScwmError("Tables or figures are missing.", path, "make the benchmark first")

    new = {path.relative_to(runs): path for path in provenances(runs, datasets)}
    old = {path.relative_to(out / "runs"): path for path in provenances(out / "runs", datasets)}
    provenance = shared(read(new))
    same = [record["commit"] == provenance["commit"] for record in read(old)]
    if all(same):
        provenance = shared(read(old | new))
    else:
        shutil.rmtree(out / "runs")
    for name in datasets:
        keep(runs / name, out / "runs" / name)
    told = provenances(out / "runs", datasets)
    provenance["runs"] = [path.parent.relative_to(out).as_posix() for path in told]

    variants = pd.read_csv(sweeps)["method"].tolist() if sweeps.is_file() else []
    found = {path.parts[-3] for path in told}
    methods = [m for m in dict.fromkeys([*rows["method"], *variants, *sorted(found)]) if m in found]
    seeds = sorted({int(path.parts[-2].removeprefix("seed")) for path in told})
    other = sorted({path.stem for path in (out / "runs").glob("*/*/seed*/transfer/*.json")})
    names = out / "runs", datasets, methods, seeds
    for kind in ("tables", "plots"):
        shutil.rmtree(out / kind, ignore_errors=True)
        (out / kind).mkdir(parents=True)
    tables = asked(TABLES, datasets, other)
    plots = [name for name in asked(PLOTS, datasets, other) if name in made or name not in PICTURES]
    with tempfile.TemporaryDirectory() as folder:
        for name in tables:
            file = Path(folder, name)
            reporting.table(name, *names, file, partial=True, transfer=other)
            for ending in (".csv", ".md"):
                shutil.copyfile(file.with_suffix(ending), out / "tables" / f"{name}{ending}")
        for name in plots:
            file = results / f"plots/{name}"
            if name not in PICTURES:
                file = Path(folder, name)
                reporting.plot(name, *names, file, partial=True, transfer=other)
            with Image.open(file.with_suffix(".png")) as picture:
                small = picture.convert("RGB").quantize(COLOURS)
            small.save(out / f"plots/{name}.png", optimize=True)
    (out / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    (out / "README.md").write_text(index(provenance, datasets, tables, plots))


def provenances(runs: Path, datasets: Iterable[str]) -> list[Path]:
    """List the provenance of the finished runs on some data sets."""
    return [p for name in datasets for p in sorted(runs.glob(f"{name}/*/seed*/provenance.json"))]


def read(files: dict[Path, Path]) -> list[dict[str, Any]]:
    """Read the values of a mapping to JSON files."""
    return [json.loads(path.read_text()) for path in files.values()]


def keep(runs: Path, out: Path) -> None:
    """Copy the small files of the finished runs in METHOD/seedN."""
    for run in (path.parent for path in runs.glob("*/seed*/provenance.json")):
        target = out / run.relative_to(runs)
        shutil.rmtree(target, ignore_errors=True)
        for path in (path for pattern in KEPT for path in sorted(run.glob(pattern))):
            copy = target / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


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
