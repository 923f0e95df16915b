"""The report: one page that holds everything and needs no network."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from scwm.errors import ScwmError
from scwm.reporting.markup import UNKNOWN, html_page, html_rows
from scwm.reporting.runs import Gap, Run, Runs, beside

CSS_DPI = 96  # pixels of a style sheet per inch
TABLES = ("claims", "main", "ablation")
CAPTIONS = {
    "claims": "Effect of each claim: mean over the seeds and Student's 95 % interval, positive in "
    "the claim's favour. Bold: required. Blue tick: what the claim asks for. An arrow: the "
    "interval goes on.",
    "ablation": "mAP of the full method, its ablations and the controls (grey): mean over the "
    "seeds, error bar of one standard deviation, a point for each seed. Dashed: the full method.",
    "curves": "Training, epoch by epoch: mean over the seeds, band of one standard deviation.",
    "pseudo_labels": "Pseudo identities, pixel labels and memory weights against the truth, epoch "
    "by epoch; weight of wrong samples: over what equal weights would give them. The truth is "
    "reported and never used in training (but by the control oracle).",
    "masks": "Part masks on the same images, first seed. Colours number the parts; the numbers "
    "of the truth and of a method are each their own.",
    "ranks": "Rank lists of the same queries, first seed. A tick and a green frame: the same "
    "person under another camera; a cross and a red frame: someone else. Number: similarity.",
}
QUESTION = """
<p>Person re-identification without labels: given pedestrian crops from several cameras, find
the same person again, with no identity known in training. SCWM (Spatial Cascaded Clustering and
Weighted Memory, <a href="https://arxiv.org/abs/2403.00261">arXiv 2403.00261</a>) learns from
pseudo identities found by clustering, from body parts found without part labels, and from
memories that weight hard and noisy samples.</p>
<p>What does each of its components contribute? Each ablation below leaves out or replaces one of
them; controls mark chance, no training and training with the true identities.</p>
"""


def write_page(runs: Runs, tables: Path, plots: Path, out: Path, partial: bool = False) -> Path:
    """Write the report from the runs, the folder of tables (.html) and that of plots (.png).

    Args:
        partial: show a table or plot that is not there as missing instead of failing.

    Raises:
        ScwmError: naming the tables and plots that are missing, where `partial` is false.
    """
    wanted = [tables / f"{name}.html" for name in TABLES]
    wanted += [plots / f"{name}.png" for name in CAPTIONS]
    absent = [path for path in wanted if not path.is_file()]
    if absent and not partial:
        raise ScwmError(
            "tables or plots are missing:\n" + "\n".join(f"  {path}" for path in absent),
            where=out,
            remedy="make them first, or ask for a partial report (--partial)",
        )
    sections = [
        "<h1>Spatial cascaded clustering and weighted memory: a benchmark</h1>",
        f"<h2>Question</h2>{QUESTION}",
        "<h2>Answer</h2>",
        *(_table(tables / f"{name}.html") for name in TABLES[1:]),
        "<h2>Claims</h2>",
        _figure(plots / "claims.png", CAPTIONS["claims"]),
        _table(tables / "claims.html"),
        f"<h2>Setting</h2>{_setting(runs)}",
        "<h2>Figures</h2>",
        *(_figure(plots / f"{name}.png", text) for name, text in list(CAPTIONS.items())[1:]),
        f"<h2>Provenance</h2>{_provenance(runs)}",
    ]
    out = beside(out, "")
    out.write_text(html_page("SCWM benchmark", "\n".join(sections)), encoding="utf-8")
    return out


def _missing(path: Path) -> str:
    return f'<div class="missing"><p>Not built: {escape(path.name)}</p></div>'


def _table(path: Path) -> str:
    """The body of a table's own page, its headings one level lower."""
    if not path.is_file():
        return _missing(path)
    text = path.read_text(encoding="utf-8").partition("<main>")[2].partition("</main>")[0]
    return text.strip().replace("h3>", "h4>").replace("h2>", "h3>")


def _figure(path: Path, caption: str) -> str:
    if not path.is_file():
        return _missing(path)
    data = base64.b64encode(path.read_bytes()).decode()
    with Image.open(path) as picture:
        resolution = picture.info.get("dpi", (CSS_DPI, CSS_DPI))[0]
        width = round(picture.width * CSS_DPI / resolution)
    return (
        f'<figure id="plot-{path.stem}"><img alt="{escape(caption)}" width="{width}" '
        f'src="data:image/png;base64,{data}">\n<figcaption>{escape(caption)}</figcaption></figure>'
    )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys of a nested configuration, without those that name the run."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif prefix or key not in ("dataset", "method", "seed", "description"):
            flat[prefix + key] = str(value)
    return flat


def _setting(runs: Runs) -> str:
    parts = [
        f"<p>{len(runs.found)} runs: {len(runs.datasets)} data set(s), {len(runs.methods)} "
        f"method(s) and control(s), seed(s) {', '.join(map(str, runs.seeds))}. The last epoch's "
        "model is evaluated; test labels choose nothing.</p>"
    ]
    for dataset in runs.datasets:
        own = runs.of(dataset)
        if not own:
            continue
        configs = {run.method: _flat(run.config) for run in own}
        name = "scwm" if "scwm" in configs else next(iter(configs))
        base = configs[name]
        notes = dict.fromkeys(run.metrics.get("label_note") or "" for run in own)
        described = {run.method: run.config.get("description") or UNKNOWN for run in own}
        rows = [
            (method, described[method], _difference(base, configs[method])) for method in configs
        ]
        parts.append(f"<h3>{escape(dataset)}</h3>")
        parts += [f'<p class="note">Data: {escape(note)}</p>' for note in notes if note]
        parts.append(html_rows(("Method", "What differs", "Settings that differ"), rows))
        parts.append(
            f"<details><summary>All settings of <code>{escape(name)}</code>"
            f"</summary>{html_rows(('Setting', 'Value'), base.items())}</details>"
        )
    return "\n".join(parts)


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


def _provenance(runs: Runs) -> str:
    places: dict[tuple[str, str], list[Run]] = {}
    for run in runs.found:
        key = _listed(run.provenance.get("hardware")), _listed(run.provenance.get("versions"))
        places.setdefault(key, []).append(run)
    machines = [(hardware, versions, len(own)) for (hardware, versions), own in places.items()]
    header = ("Data set", "Method", "Seed", "Commit", "Config", "Data", "Weights", "Seconds",
              "Images/s", "Peak memory (MiB)")  # fmt: skip
    rows = []
    for run in runs.found:
        source = run.provenance
        commit = _short(source.get("commit")) + (" (changed)" if source.get("dirty") else "")
        hashes = (_short(source.get(f"{kind}_hash")) for kind in ("config", "data", "weights"))
        rate = _number(source.get("images_per_second"), 1)
        memory = _number(source.get("peak_memory_mib"))
        rows.append(
            (run.dataset, run.method, run.seed, commit, *hashes,
             _number(source.get("seconds")), rate, memory)
        )  # fmt: skip
    return (
        html_rows(("Hardware", "Versions", "Runs"), machines)
        + f"<details><summary>Each run ({len(rows)})</summary>{html_rows(header, rows)}</details>"
        + _gaps(runs.gaps)
    )


def _gaps(gaps: tuple[Gap, ...]) -> str:
    if not gaps:
        return ""
    items = "".join(f"<li>{escape(str(gap))}</li>" for gap in gaps)
    return f'<div class="missing"><h3>Missing runs</h3><ul>{items}</ul></div>'
