"""Keep a benchmark's runs, tables and figures, with their provenance, in results/recorded.

    python tools/record.py [--results results] [--runs RUNS] [--out results/recorded] [--replace]

The folder is committed, so that a clone shows results before it runs anything; nothing else
writes there. Of a run it keeps the small files that tables and figures read, not its model,
features or images. Runs of the same commit add up: a benchmark of many seeds may be made and
recorded in parts. Tables, and figures that show no features or images, are made from all recorded
runs. `metrics/` holds the headline of table `main` for `dvc metrics`. Figures that show images are
kept of rendered data sets only. Runs must all be of one commit without changes. Exit status 1 where
they are not.
"""

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from scwm import reporting
from scwm.core.errors import ScwmError
from scwm.core.files import write_text
from scwm.core.yaml_files import read_yaml
from scwm.data.entries import lookup
from scwm.reporting.catalogue import CAPTIONS, PLOTS, TABLES, Request, asked
from scwm.reporting.inputs import PICTURES, READ_OF_RUNS

ROOT = Path(__file__).parents[1]
SAME = ("commit", "dirty", "frozen", "data_hash", "weights_hash", "versions", "hardware")
KEPT = (*READ_OF_RUNS, "queries.npz", "study.json", "transfer/*.json")  # of a run, if they exist
REPLACED = ("runs", "tables", "plots", "metrics")  # folders of a record
HEADLINE = ("mAP", "rank1", "foreground_iou", "part_miou")
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


def record(results: Path, runs: Path, out: Path, replace: bool = False) -> None:
    """Add `runs` to those recorded in `out`, and replace its tables and figures.

    An error leaves `out` as it was.

    Args:
        replace: drop recorded runs of another commit.

    Raises:
        ScwmError: `out` holds folders that no record made, a table or figure of `results` is
            missing, or the recorded runs are of another commit; see also `shared` and
            `check_equal`.
    """
    own = (out / "provenance.json").is_file()
    if lost := [name for name in REPLACED if (out / name).exists() and not own]:
        raise ScwmError(
            f"{', '.join(lost)} would be replaced, and this tool did not make the folder.",
            out,
            "give another --out",
        )
    rows, claims = read_table(results, "main"), read_table(results, "claims")
    datasets = sorted(set(rows["dataset"]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder)
        commit = shared(map(provenance_of, finished(runs, datasets)))["commit"]
        old = {provenance_of(run)["commit"] for run in finished(out / "runs")}
        if old - {commit} and not replace:
            raise ScwmError(
                f"The recorded runs are of commit {', '.join(sorted(old))}, these of {commit}.",
                out / "runs",
                "run the others at the recorded commit, or drop the recorded ones by --replace",
            )
        if not old - {commit}:
            keep(out / "runs", finished(out / "runs"), made / "runs")
        keep(runs, finished(runs, datasets), made / "runs")
        told = finished(made / "runs")
        check_equal(told)
        provenance = shared(map(provenance_of, told))
        provenance["runs"] = [run.relative_to(made).as_posix() for run in told]
        write(results, made, told, rows, claims, provenance)
        for name in REPLACED:
            shutil.rmtree(out / name, ignore_errors=True)
        out.mkdir(exist_ok=True)
        for path in made.iterdir():
            path.replace(out / path.name)


def write(
    results: Path,
    made: Path,
    told: list[Path],
    rows: pd.DataFrame,
    claims: pd.DataFrame,
    provenance: dict[str, Any],
) -> None:
    """Write tables and figures of the runs `told`, provenance and index into the folder `made`.

    Raises:
        ScwmError: a figure that is copied from `results` is missing.
    """
    datasets = sorted({run.parts[-3] for run in told})
    rendered = all(lookup(name).source.preset for name in datasets)
    copied = [name for name in PICTURES if rendered or PICTURES[name] != "visuals.npz"]
    if absent := [name for name in copied if not (results / f"plots/{name}.png").is_file()]:
        path = results / f"plots/{absent[0]}.png"
        raise ScwmError("Tables or figures are missing.", path, "make the benchmark first")
    found = sorted({run.parts[-2] for run in told})
    methods = [name for name in dict.fromkeys([*rows["method"], *found]) if name in found]
    seeds = sorted({int(run.name.removeprefix("seed")) for run in told})
    other = sorted({path.stem for run in told for path in run.glob("transfer/*.json")})
    named = sorted(set(claims.query("kind == 'required'")["claim"])) or None
    wanted = Request(made / "runs", datasets, methods, seeds, other, named, partial=True)
    tables = asked(TABLES, datasets, other)
    plots = [n for n in asked(PLOTS, datasets, other) if n in copied or n not in PICTURES]
    for kind in ("tables", "plots", "drawn"):
        (made / kind).mkdir()
    for name in tables:
        file = made / "drawn" / name
        reporting.table(name, wanted, file)
        for ending in (".csv", ".md"):
            shutil.copyfile(file.with_suffix(ending), made / "tables" / f"{name}{ending}")
    for name in plots:
        file = results / f"plots/{name}"
        if name not in PICTURES:
            file = made / "drawn" / name
            reporting.plot(name, wanted, file)
        with Image.open(file.with_suffix(".png")) as picture:
            small = picture.convert("RGB").quantize(COLOURS)
        small.save(made / f"plots/{name}.png", optimize=True)
    shutil.rmtree(made / "drawn")
    write_metrics(made)
    text = json.dumps(provenance, indent=2, sort_keys=True) + "\n"
    write_text(text, made / "provenance.json")
    write_text(index(provenance, datasets, tables, plots), made / "README.md")


def write_metrics(folder: Path) -> None:
    """Write the headline of the folder's table `main`, in percent, to metrics/DATASET/METHOD.json.

    `dvc metrics show` prints a row for each file, so a method has its own.
    """
    table = read_table(folder, "main")
    for row in table[table["seeds"] > 0].to_dict("records"):
        means = {key: round(100 * row[f"{key}_mean"], 2) for key in HEADLINE}
        known = {"seeds": row["seeds"]} | {k: x for k, x in means.items() if not math.isnan(x)}
        path = folder / f"metrics/{row['dataset']}/{row['method']}.json"
        write_text(json.dumps(known) + "\n", path)


def read_table(results: Path, name: str) -> pd.DataFrame:
    """Read a table of the benchmark.

    Raises:
        ScwmError: it is missing.
    """
    path = results / f"tables/{name}.csv"
    if not path.is_file():
        raise ScwmError("Tables or figures are missing.", path, "make the benchmark first")
    return pd.read_csv(path)


def finished(runs: Path, datasets: Iterable[str] = ("*",)) -> list[Path]:
    """List the folders DATASET/METHOD/seedN of finished runs, in order."""
    found = [p.parent for d in datasets for p in runs.glob(f"{d}/*/seed*/provenance.json")]
    return sorted(run for run in found if run.name.removeprefix("seed").isdecimal())


def provenance_of(run: Path) -> dict[str, Any]:
    """Read the provenance of a run."""
    found: dict[str, Any] = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    return found


def check_equal(told: list[Path]) -> None:
    """Check that runs differ only in what their folders say.

    Another kind of CPU renders people with other rounding, so runs on rendered people may differ in
    the hash of their images if they were made on different kinds.

    Raises:
        ScwmError: runs on a data set saw other data, or runs of a method on it differ in a setting
            besides the seed.
    """
    known: dict[tuple[str, ...], object] = {}
    for run in told:
        record, config = provenance_of(run), read_yaml(run / "config.yaml")
        settings = {key: value for key, value in config.items() if key != "seed"}
        hardware = record["hardware"]
        cpu = hardware["processor"], hardware.get("instruction_sets")  # older runs lack the latter
        rendered = lookup(run.parts[-3]).source.preset
        for key, value in (
            (("data_hash", run.parts[-3], *(cpu if rendered else ())), record["data_hash"]),
            (("config.yaml", *run.parts[-3:-1]), settings),
        ):
            if known.setdefault(key, value) != value:
                raise ScwmError(
                    f"Runs of {' / '.join(filter(None, key[1:]))} differ in {key[0]}.",
                    run,
                    "run the whole benchmark again, and record that",
                )


def keep(runs: Path, folders: Iterable[Path], out: Path) -> None:
    """Copy the small files of runs below `runs` to `out`."""
    for run in folders:
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
        "[runs](runs) holds config, history, scores of each query and provenance of each run.",
        "`scwm verify` with this folder recomputes scores and tables from them.",
        "",
        *(f"- [{name}](tables/{name}.md) ([CSV](tables/{name}.csv))" for name in tables),
        "",
    ]
    for name in plots:
        lines += [f"![{name}](plots/{name}.png)", "", CAPTIONS[name], ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--runs", type=Path, help="default: those of the results")
    parser.add_argument("--out", type=Path, default=ROOT / "results/recorded")
    parser.add_argument("--replace", action="store_true", help="drop runs of another commit")
    arguments = parser.parse_args()
    runs = arguments.runs or arguments.results / "runs"
    try:
        record(arguments.results, runs, arguments.out, arguments.replace)
    except ScwmError as error:
        raise SystemExit(f"error: {error}") from error
    print(arguments.out)


if __name__ == "__main__":
    main()
