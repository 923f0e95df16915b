"""The report: one page that holds everything and needs no network."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from scwm.core.config import flatten
from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.reporting.catalogue import CAPTIONS, TABLES
from scwm.reporting.markup import UNKNOWN, html_page, html_rows
from scwm.reporting.runs import Gap, Run, Runs, beside

CSS_DPI = 96  # pixels of a style sheet per inch
ANSWER = ("main", "ablation")  # the tables that come first
QUESTION = """
<p>Person re-identification without labels: given pedestrian crops from several cameras, find
the same person again, with no identity known in training. SCWM (Spatial Cascaded Clustering and
Weighted Memory, <a href="https://arxiv.org/abs/2403.00261">arXiv 2403.00261</a>) learns from
pseudo identities found by clustering, from body parts found without part labels, and from
memories that weight hard and noisy samples.</p>
<p>What does each of its components contribute? Each ablation below leaves out or replaces one of
them; controls mark chance, no training and training with the true identities.</p>
"""
VERIFY = """
<p>Every run keeps the features that its figures were computed from. In the folder that this
benchmark ran in,</p>
<div class="scroll"><pre><code>scwm verify {folder}
scwm verify {folder} --dataset {dataset} --method {method} --seed {seed} --measure mAP</code></pre>
</div>
<p>ranks the gallery again by the stored features, takes each config's hash and the main table's
means again, and names what does not match.</p>
"""
CITE = """
<p>The method: J. Hong, J. Zuo, C. Han, R. Zheng, M. Tian, C. Gao, N. Sang. <i>Spatial Cascaded
Clustering and Weighted Memory for Unsupervised Person Re-identification</i>. 2024,
<a href="https://arxiv.org/abs/2403.00261">arXiv 2403.00261</a>.</p>
<p>These figures: the SCWM benchmark, an independent suite, at commit {commits}; its figures are
none of the paper's.</p>
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
    figures = [name for name in CAPTIONS if name != "claims"]
    others = [name for name in TABLES if name not in (*ANSWER, "claims")]
    sections = {
        "Question": QUESTION,
        "Answer": "\n".join(_table(tables / f"{name}.html") for name in ANSWER),
        "Claims": _figure(plots / "claims.png", CAPTIONS["claims"])
        + _table(tables / "claims.html"),
        "Setting": _setting(runs),
        "Figures": _links({f"plot-{name}": _title(name) for name in figures})
        + "\n".join(
            f"<h3>{_title(name)}</h3>" + _figure(plots / f"{name}.png", CAPTIONS[name])
            for name in figures
        ),
        "Further tables": _links({f"table-{name}": _title(name) for name in others})
        + "\n".join(_table(tables / f"{name}.html") for name in others),
        "Provenance": _provenance(runs),
        "How to verify": _verify(runs, out.parent),
        "How to cite": CITE.format(commits=_commits(runs)),
    }
    anchors = {title: title.lower().replace(" ", "-") for title in sections}
    body = [
        "<h1>Spatial cascaded clustering and weighted memory: a benchmark</h1>",
        _links({anchor: title for title, anchor in anchors.items()}),
        *(f'<h2 id="{anchors[title]}">{title}</h2>{text}' for title, text in sections.items()),
    ]
    out = beside(out, "")
    with whole_file(out) as written:
        written.write_text(html_page("SCWM benchmark", "\n".join(body)), encoding="utf-8")
    return out


def _title(name: str) -> str:
    return "t-SNE" if name == "tsne" else name.replace("_", " ").capitalize()


def _links(titles: dict[str, str]) -> str:
    """Links to anchors of the page, by their titles."""
    links = (f'<a href="#{anchor}">{title}</a>' for anchor, title in titles.items())
    return f"<nav>{' · '.join(links)}</nav>\n"


def _missing(path: Path) -> str:
    kind = "plot" if path.suffix == ".png" else "table"
    name = escape(path.name)
    return f'<div class="missing" id="{kind}-{path.stem}"><p>Not built: {name}</p></div>'


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


def _settings(config: dict[str, Any]) -> dict[str, str]:
    """Dotted keys of a configuration with their values, without those that name the run."""
    named = ("dataset", "method", "seed", "description")
    return {key: str(value) for key, value in flatten(config) if key not in named}


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
        configs = {run.method: _settings(run.config) for run in own}
        name = "scwm" if "scwm" in configs else next(iter(configs))
        base = configs[name]
        notes = dict.fromkeys(run.metrics.get("label_note") or "" for run in own)
        described = {run.method: run.config.get("description") or UNKNOWN for run in own}
        rows = [
            (method, described[method], _difference(base, configs[method])) for method in configs
        ]
        parts.append(f"<h3>{escape(dataset)}</h3>")
        parts += [f'<p class="note">Note: {escape(note)}</p>' for note in notes if note]
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


def _verify(runs: Runs, folder: Path) -> str:
    one = runs.found[0] if runs.found else None
    named = (one.dataset, one.method, one.seed) if one else ("DATASET", "METHOD", "SEED")
    dataset, method, seed, place = (escape(str(name)) for name in (*named, folder))
    return VERIFY.format(folder=place, dataset=dataset, method=method, seed=seed)


def _commits(runs: Runs) -> str:
    commits = dict.fromkeys(str(run.provenance.get("commit") or UNKNOWN) for run in runs.found)
    return ", ".join(f"<code>{escape(commit)}</code>" for commit in commits) or UNKNOWN
