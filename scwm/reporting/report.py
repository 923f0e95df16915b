"""The report: one page with all results, which needs no network."""

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scwm.core.config import flatten
from scwm.core.errors import ScwmError
from scwm.core.files import write_text
from scwm.reporting.catalogue import CAPTIONS, REFERENCE
from scwm.reporting.claim_groups import for_readers
from scwm.reporting.markup import UNKNOWN, Table, notes_of, render
from scwm.reporting.runs import Run, Runs, freeze_note
from scwm.reporting.summary import summarise, to_markdown
from scwm.reporting.tables.claims import evaluate_claims, load_claims

CSS_DPI = 96  # pixels of a style sheet per inch
PHOTOS = ("masks", "ranks")


def write_page(
    runs: Runs, tables: Mapping[str, Table], plots: Path, out: Path, partial: bool = False
) -> list[Path]:
    """Write the report from the runs, their tables and the folder of plots (.png).

    Args:
        partial: show a missing plot as missing instead of failing.

    Returns:
        The report, and summary.md next to it with the report's answer.

    Raises:
        ScwmError: plots are missing and `partial` is false; the message lists them.
    """
    shown = _shown(tables)
    names = [name for name in CAPTIONS if name not in ("transfer", "sweeps") or name in shown]
    files = {name: plots / f"{name}.png" for name in names}
    absent = [path for path in files.values() if not path.is_file()]
    if absent and not partial:
        raise ScwmError(
            "plots are missing:\n" + "\n".join(f"  {path}" for path in absent),
            where=out,
            remedy="draw them first, or use --partial",
        )
    outcomes = evaluate_claims(load_claims(), runs)
    summaries = {name: summarise(runs, name, outcomes) for name in runs.datasets}
    own = {dataset: runs.of(dataset) for dataset in runs.datasets}
    found = [(run.dataset, run.method, run.seed) for run in runs.found]
    page = render(
        "reporting/templates/report.html",
        title="SCWM benchmark",
        freeze=freeze_note(runs),
        summaries=summaries,
        runs=runs,
        tables=shown,
        plots={name: _plot(path, CAPTIONS[name]) for name, path in files.items()},
        settings={dataset: _setting(found) for dataset, found in own.items() if found},
        machines=_machines(runs),
        rows=[_provenance(run) for run in runs.found],
        folder=_results(runs) or out.parent,
        example=found[0] if found else ("DATASET", "METHOD", "SEED"),
        commits=dict.fromkeys(run.provenance.get("commit") or UNKNOWN for run in runs.found),
    )
    summary = write_text(to_markdown(summaries), out.with_name("summary.md"))
    return [write_text(page, out), summary]


def _shown(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Leave out tables without content; claims come in reading order, and stay where empty."""
    filled = {name: table for name, table in tables.items() if table.blocks or name == "claims"}
    return filled | {"claims": for_readers(tables["claims"])}


def _results(runs: Runs) -> Path | None:
    """Return the folder of results that `scwm verify` takes: that of runs/DATASET/METHOD/seedN."""
    folders = [Path(os.path.normpath(run.folder.joinpath(*[".."] * 4))) for run in runs.found]
    return folders[0] if folders else None


def _plot(path: Path, caption: str) -> dict[str, Any]:
    """Embed a plot as an image at its size in print; the image is empty if it is missing."""
    if not path.is_file():
        return {}
    data = base64.b64encode(path.read_bytes()).decode()
    with Image.open(path) as picture:
        resolution = picture.info.get("dpi", (CSS_DPI, CSS_DPI))[0]
        width = round(picture.width * CSS_DPI / resolution)
    source = f"data:image/png;base64,{data}"
    kind = "photo" if path.stem in PHOTOS else "chart"
    return {"source": source, "width": width, "caption": caption, "kind": kind}


def _settings(config: dict[str, Any]) -> dict[str, str]:
    """List dotted keys of a configuration with their values, except the names of the run."""
    named = ("dataset", "method", "seed", "description")
    return {key: str(value) for key, value in flatten(config) if key not in named}


def _setting(runs: Sequence[Run]) -> dict[str, Any]:
    """Describe common settings of a data set's runs, and the differences as rows."""
    configs = {run.method: _settings(run.config) for run in runs}
    described = {run.method: run.config.get("description") or UNKNOWN for run in runs}
    name = REFERENCE if REFERENCE in configs else next(iter(configs))
    base = configs[name]
    return {
        "notes": notes_of((run.method, run.metrics.get("label_note")) for run in runs),
        "name": name,
        "base": base,
        "methods": [*described.items()],
        "differences": [(key, _difference(base, own)) for key, own in configs.items()],
    }


def _difference(base: dict[str, str], config: dict[str, str]) -> str:
    changed = [f"{k} = {v}" for k, v in config.items() if base.get(k) != v]
    return ", ".join(changed) or UNKNOWN


def _short(value: object) -> str:
    return str(value)[:10] if value else UNKNOWN


def _number(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _listed(values: object) -> str:
    if not isinstance(values, dict):
        return str(values or UNKNOWN)
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _machines(runs: Runs) -> list[tuple[str, str, int]]:
    """List hardware and versions with their number of runs."""
    places = Counter(
        tuple(_listed(run.provenance.get(kind)) for kind in ("hardware", "versions"))
        for run in runs.found
    )
    return [(hardware, versions, count) for (hardware, versions), count in places.items()]


def _provenance(run: Run) -> tuple[object, ...]:
    source = run.provenance
    return (
        *(run.dataset, run.method, run.seed),
        _short(source.get("commit")) + (" (changed)" if source.get("dirty") else ""),
        *(_short(source.get(f"{kind}_hash")) for kind in ("config", "data", "weights")),
        _number(source.get("seconds")),
        _number(source.get("images_per_second"), 1),
        _number(source.get("peak_memory_mib")),
    )
