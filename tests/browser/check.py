"""The pages in a browser, wide and narrow; run by `make browser-check`.

    python tests/browser/check.py [PAGE ...] [--screenshots FOLDER] [--chromium PROGRAM]

Without PAGE: report, claims, dashboard, rank lists and identities of made-up runs and pictures.
Each page is loaded at each width, its folded blocks open. It must have no error in its console,
request nothing, load every picture, and have nothing that scrolls sideways.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from chromium import Chromium
from made_up_runs import METHODS, SEEDS, write_runs
from PIL import Image

from scwm import reporting
from scwm.core.files import write_text
from scwm.inference.clusters import Clusters
from scwm.inference.pages import cluster_page, rank_page
from scwm.inference.rank_lists import RankLists
from scwm.reporting.catalogue import Request, asked
from scwm.reporting.dashboard import write_dashboard
from scwm.reporting.runs import run_folder

WIDTHS = (1280, 390)
DATA = ("mannequins",)
OPEN = "document.querySelectorAll('details').forEach(one => one.open = true)"
WIDE = """[document.documentElement, ...document.body.querySelectorAll('*')]
.filter(one => one.scrollWidth > one.clientWidth + 1 && (one === document.documentElement
  || ['auto', 'scroll'].includes(getComputedStyle(one).overflowX)))
.map(one => `${one.tagName} ${one.id || one.className}: ${one.scrollWidth} in ${one.clientWidth}`
  + ` (${one.textContent.trim().slice(0, 40)})`)"""
EMPTY = """[...document.images].filter(one => !one.complete || !one.naturalWidth)
.map(one => one.alt)"""


def write_pages(folder: Path) -> list[Path]:
    """Write the four kinds of pages with made-up content.

    All runs have re-ranked scores, with which the main table has the most columns.
    """
    runs = write_runs(folder / "runs", DATA)
    for path in runs.glob("*/*/*/metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["reranked"] = next(iter(metrics["features"].values()))
        path.write_text(json.dumps(metrics))
    names = (runs, DATA, METHODS, SEEDS)
    for plot in asked(reporting.PLOTS, DATA, ()):
        reporting.plot(plot, Request(*names, partial=True), folder / "plots" / plot)
    report, _ = reporting.page(
        folder / "plots", Request(*names, partial=True), folder / "report.html"
    )
    claims = folder / "claims"
    reporting.table("claims", Request(runs, DATA, METHODS, SEEDS), claims)
    dashboard = folder / "dashboard.html"
    write_dashboard([run_folder(runs, DATA[0], "scwm", seed) for seed in SEEDS], dashboard)
    return [report, claims.with_suffix(".html"), dashboard, *_pages_of_crops(folder)]


def _pages_of_crops(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [
        folder / f"{i % 7 + 1:04}_c{i % 3 + 1}s1_{i:06}_with_a_long_name.png" for i in range(40)
    ]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (128, 64, 3), dtype=np.uint8)).save(file)
    queries, top = files[:5], 10
    order = np.argsort(rng.random((len(queries), len(files))))[:, :top]
    scores = np.sort(rng.random(order.shape))[:, ::-1]
    lists = RankLists(queries, files, order, scores, rng.random(order.shape) < 0.5, {})
    clusters = Clusters(files, rng.integers(-1, 4, len(files)))
    pages = {
        "ranks": rank_page(lists, "Rank lists", "scwm"),
        "clusters": cluster_page(clusters, "Identities", "scwm"),
    }
    return [_written(text, folder / f"{name}.html") for name, text in pages.items()]


def _written(text: str, path: Path) -> Path:
    write_text(text, path)
    return path


def faults(browser: Chromium, page: Path, width: int) -> list[str]:
    """Load a page and describe what is wrong with it."""
    browser.open(page, width)
    browser.evaluate(OPEN)
    found = [f"scrolls sideways: {one}" for one in browser.evaluate(WIDE)]
    found += [f"picture not loaded: {one}" for one in browser.evaluate(EMPTY)]
    for event in browser.events:
        kind, content = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            address = content["request"]["url"]
            if not address.startswith("data:") and address != page.resolve().as_uri():
                found.append(f"request: {address}")
        if kind == "Runtime.exceptionThrown":
            found.append(f"error: {content['exceptionDetails']['text']}")
        if kind == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            found.append(f"console: {content['entry']['text']}")
        if kind == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning"):
            found.append(f"console: {content['args']}")
    return found


def photograph(browser: Chromium, page: Path, folder: Path) -> None:
    """Write pictures of a page at both widths, in the light and in the dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for mood in ("light", "dark"):
            browser.open(page, width, dark=mood == "dark")
            browser.screenshot(folder / f"{page.stem}-{width}-{mood}.png")


def main() -> int:
    """Check the pages; the status is 1 if any has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=Path, nargs="*", metavar="PAGE")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    parser.add_argument("--chromium", default="", metavar="PROGRAM")
    options = parser.parse_args()
    names = (options.chromium, "chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, filter(None, names))), None)
    if program is None:
        print("Chromium is missing: apt install chromium, or --chromium PROGRAM", file=sys.stderr)
        return 1
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, Chromium(program) as browser:
        for page in options.pages or write_pages(Path(folder)):
            for width in WIDTHS:
                found = faults(browser, page, width)
                wrong += bool(found)
                print(f"{page.name} at {width} px: {'failed' if found else 'passed'}")
                print("".join(f"  {one}\n" for one in found), end="")
            if options.screenshots:
                photograph(browser, page, options.screenshots)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
