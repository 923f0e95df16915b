"""Reporting on made-up runs: figures against plain pandas, gaps, escaping, stable bytes."""

import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from made_up_runs import DATASETS, METHODS, NAMES, SEEDS, TRANSFER
from matplotlib.figure import Figure
from PIL import Image

from scwm import reporting
from scwm.core import freeze
from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import Request
from scwm.reporting.figures.galleries import (
    EDGE,
    _framed,
    _rank_sheet,
    matched,
    resized,
    sheet,
    whole,
)
from scwm.reporting.markup import EMPTY, render
from scwm.reporting.runs import load_runs, run_folder

SECTIONS = (
    *("question", "answer", "claims", "setting", "figures", "further-tables", "provenance"),
    *("how-to-verify", "how-to-cite"),
)


def test_missing_run_names_its_files(gapped: Path, tmp_path: Path) -> None:
    with pytest.raises(ScwmError) as error:
        reporting.table(
            "main", Request(gapped, DATASETS[:1], METHODS[:3], SEEDS), tmp_path / "main"
        )
    assert "4 runs" in str(error.value)
    assert str(run_folder(gapped, "mannequins", "scwm", 1)) in str(error.value)
    assert "no metrics.json" in str(error.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("metrics.json", "{", "", "unreadable"),
        ("metrics.json", '"mAP": ', '"mAP": "high", "other": ', "metrics.json has no mAP that is"),
        ("metrics.json", '"nmi": ', '"nmi": "high", "other": ', "metrics.json has no nmi that is"),
        ("provenance.json", '"seconds": ', '"seconds": "2 h", "other": ', "has no seconds that is"),
        ("history.csv", "epoch,", "number,", "history.csv has no epoch that is a number"),
        ("history.csv", "\n1,", "\nfirst,", "history.csv has no epoch that is a number"),
    ],
)
def test_a_broken_file_is_a_gap(gapped: Path, name: str, old: str, new: str, reason: str) -> None:
    path = run_folder(gapped, "mannequins", "scwm", 0) / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    runs = load_runs(Request(gapped, DATASETS[:1], METHODS[:1], SEEDS, partial=True))
    assert [gap.seed for gap in runs.gaps] == [0, 1]
    assert reason in runs.gaps[0].reason


def test_a_run_under_the_name_of_another_is_a_gap(gapped: Path) -> None:
    own, other = (run_folder(gapped, "mannequins", "scwm", seed) for seed in (0, 1))
    shutil.copytree(own, other, dirs_exist_ok=True)
    runs = load_runs(Request(gapped, DATASETS[:1], METHODS[:1], SEEDS, partial=True))
    assert [gap.seed for gap in runs.gaps] == [1]
    assert "metrics.json is of another run" in runs.gaps[0].reason


def test_names_are_escaped(root: Path, tmp_path: Path) -> None:
    reporting.table("ablation", Request(root, *NAMES), tmp_path / "ablation")
    html = (tmp_path / "ablation.html").read_text()
    assert "the method &lt;no_space&gt; &amp; what differs" in html
    assert "<no_space>" not in html
    markdown = (tmp_path / "ablation.md").read_text()
    assert "&lt;no_space&gt;" in markdown
    widths = {
        line.replace("\\|", "").count("|") for line in markdown.splitlines() if line[:1] == "|"
    }
    assert len(widths) == 1


@pytest.mark.parametrize("name", reporting.PLOTS)
def test_plots_are_written_with_the_same_bytes(name: str, root: Path, tmp_path: Path) -> None:
    datasets = DATASETS if name == "ablation" else DATASETS[:1]
    names = (datasets, METHODS[:2] + METHODS[4:], SEEDS[:2])
    first = reporting.plot(name, Request(root, *names, transfer=TRANSFER), tmp_path / "a" / name)
    second = reporting.plot(name, Request(root, *names, transfer=TRANSFER), tmp_path / "b" / name)
    assert [path.name for path in first] == [f"{name}.png", f"{name}.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with Image.open(first[0]) as picture:
        assert picture.width > 700
    ET.parse(first[1])


@pytest.mark.parametrize("name", reporting.PLOTS)
def test_plots_of_nothing_still_stand(name: str, tmp_path: Path) -> None:
    wanted = Request(tmp_path, DATASETS[:1], METHODS[:2], SEEDS, TRANSFER)
    with pytest.raises(ScwmError, match="missing or incomplete"):
        reporting.plot(name, wanted, tmp_path / "plots" / name)
    made = reporting.plot(name, replace(wanted, partial=True), tmp_path / "plots" / name)
    assert all(path.stat().st_size for path in made)


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_galleries_name_missing_and_broken_pictures(
    content: bytes | None, gapped: Path, tmp_path: Path
) -> None:
    names = (DATASETS[:1], METHODS[:1], SEEDS[:1])
    path = run_folder(gapped, "mannequins", "scwm", 0) / "visuals.npz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScwmError, match=r"(?s)pictures of a run.*visuals\.npz.*scwm evaluate"):
        reporting.plot("masks", Request(gapped, *names), tmp_path / "masks")
    reporting.plot("masks", Request(gapped, *names, partial=True), tmp_path / "masks")


def test_rank_lists_leave_places_beyond_the_gallery_empty(root: Path) -> None:
    run = load_runs(Request(root, DATASETS[:1], METHODS[:1], SEEDS[:1])).found[0]
    with np.load(run.folder / "visuals.npz") as stored:
        visuals = dict(stored)
    visuals["rank_score"][:, 5:] = -np.inf
    panel = Figure().subplots()
    _rank_sheet(panel, visuals, 8)
    assert len(panel.texts) == 4 * (1 + 5)


def test_unknown_names_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ScwmError, match="no table named"):
        reporting.table("best", Request(root, *NAMES), tmp_path / "best")
    with pytest.raises(ScwmError, match="no plot named"):
        reporting.plot("best", Request(root, *NAMES), tmp_path / "best")


def test_page_holds_everything_and_needs_no_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze, "CONFIG_DIR", tmp_path)
    plots, out = tmp_path / "plots", tmp_path / "report.html"
    with pytest.raises(ScwmError, match=r"masks\.png"):
        reporting.page(plots, Request(root, *NAMES, transfer=TRANSFER), out)
    for name in reporting.PLOTS:
        plots.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(plots / f"{name}.png")
    first, second = (
        reporting.page(plots, Request(root, *NAMES, transfer=TRANSFER), out)[0].read_bytes()
        for _ in range(2)
    )
    assert first == second
    html = first.decode()
    assert f"Each run ({len(DATASETS) * len(METHODS) * len(SEEDS)})" in html
    plotted = [name for name in reporting.PLOTS if name != "sweeps"]  # no run of one is among these
    assert html.count("data:image/png;base64,") == len(plotted)
    assert "<title>SCWM benchmark</title>" in html and "parsing.space_correction = False" in html
    assert not [part for part in html.split("src=")[1:] if not part.startswith('"data:')]
    assert "<no_space>" not in html
    places = [html.index(f'<h2 id="{title}">') for title in SECTIONS]
    assert places == sorted(places) and html.count("<h2 ") == len(SECTIONS)
    anchors = re.findall(r'href="#([^"]+)"', html)
    filled = [name for name in reporting.TABLES if name != "sweeps"]
    assert len(anchors) == len(SECTIONS) + len(plotted) - 1 + len(filled) - 4
    assert not [name for name in reporting.TABLES if (f"table-{name}" in html) != (name in filled)]
    assert all(html.count(f'id="{anchor}"') == 1 for anchor in anchors)
    assert html.count("<img ") == len(plotted) and 'alt=""' not in html
    note = "Settings and claims are not frozen."  # once on the page, and in each table's own file
    assert html.count(note) == 1
    for name in filled:
        reporting.table(name, Request(root, *NAMES, transfer=TRANSFER), tmp_path / name)
        shown = _table((tmp_path / f"{name}.html").read_text(), name)
        assert _table(html, name) == shown.replace(f" {note}", "") != shown
    (plots / "masks.png").unlink()
    reporting.page(plots, Request(root, *NAMES, partial=True), out)
    html = out.read_text()
    assert "Not built: masks.png" in html and 'id="plot-transfer"' not in html


def _table(html: str, name: str) -> str:
    """A table's section of a page, but for the levels of its headings."""
    section = html.partition(f'<section id="table-{name}">')[2].partition("</section>")[0]
    assert section
    return re.sub(r"(</?h)\d", r"\1", section)


def test_a_report_of_nothing_lists_what_is_missing(tmp_path: Path) -> None:
    names = (DATASETS[:1], METHODS[:2], SEEDS[:1])
    page, summary = reporting.page(
        tmp_path,
        Request(tmp_path, *names, partial=True, transfer=TRANSFER),
        tmp_path / "report.html",
    )
    assert summary.read_text() == "## mannequins\n\nThe full method has no run.\n"
    html = page.read_text()
    for method in METHODS[:2]:
        assert f"mannequins / {method} / seed 0: no config.yaml" in html
    assert "scwm verify" in html and EMPTY not in html and "Missing runs (2)" in html
    assert html.count("Not built: ") == len(reporting.PLOTS) - 1  # a sweep is not asked for


def test_a_page_shows_no_key_of_a_claim_and_no_backtick(root: Path, tmp_path: Path) -> None:
    page, _ = reporting.page(
        tmp_path, Request(root, *NAMES, partial=True), tmp_path / "report.html"
    )
    assert f"scwm verify {root.parent}\n" in page.read_text()  # not the folder of the page
    reporting.table("claims", Request(root, *NAMES), tmp_path / "claims")
    for html in (page.read_text(), (tmp_path / "claims.html").read_text()):
        claims = html.partition('id="table-claims"')[2].partition("</section>")[0]
        assert "features that <code>scwm</code> has trained (informative)" in claims
        assert "space_miou_after" not in html and "parsing.both.part_miou" not in html
        assert "`" not in html
        groups = re.findall(r'<th colspan="\d+">(.*?)</th>', claims)
        assert groups[:4] == ["Parsing", "Memory", "Losses", "Whole method"]


def test_one_colour_is_the_same_part_in_the_truth_and_in_a_prediction() -> None:
    truth = np.zeros((2, 8, 4), dtype=np.uint8)
    truth[:, :2], truth[:, 2:4], truth[:, 4:6] = 1, 2, 3
    other = np.array([0, 3, 1, 2])[truth]  # the same parts by other numbers
    assert (matched(other, truth) == truth).all()
    other[:, 6:] = 4  # a part that the truth does not have
    found = matched(other, truth)
    assert (found[:, :6] == truth[:, :6]).all() and (found[:, 6:] > 3).all()


def test_pictures_are_of_whole_people() -> None:
    parts = np.zeros((4, 6, 2), dtype=np.uint8)
    parts[0, :4], parts[1, :2] = 2, 1  # without a head; without feet
    for person in (2, 3):
        parts[person, :2], parts[person, 2:4], parts[person, 4:] = 1, 2, 3
    assert list(whole(parts, 2)) == [2, 3]
    assert list(whole(parts, 9)) == [0, 1, 2, 3] and list(whole(0 * parts, 1)) == [0]


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (64, 64), (50, 90)])
def test_pictures_keep_their_aspect_ratio_and_frames_hide_nothing(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture, framed = resized(image), _framed(image, "#FF0000")
    height, width, _ = picture.shape
    assert width / height == pytest.approx(size[1] / size[0], rel=0.02)
    assert (framed[EDGE:-EDGE, EDGE:-EDGE] == picture).all()
    for figsize in ((9, 3), (3, 9)):
        figure = Figure(figsize=figsize, layout="constrained")
        panel = figure.subplots()
        cell = sheet(panel, [[picture] * 3] * 2, 3, 0)
        figure.draw_without_rendering()
        shown = panel.get_window_extent()
        unit = shown.height / 2 / cell  # of a picture's pixel, upwards
        (drawn,) = panel.images
        columns = drawn.get_array().shape[1]
        assert shown.width / columns == pytest.approx(unit, rel=0.01)


def test_what_a_template_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'table' is undefined"):
        render("reporting/templates/table.html", title="a table")
