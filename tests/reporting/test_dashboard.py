"""The page of training histories: what it shows, says and needs."""

import re
from xml.etree import ElementTree

import pytest

from scwm.core.errors import ScwmError
from scwm.reporting.dashboard import LINES, write_dashboard

HISTORY = "epoch,loss,loss_part,clusters,seconds_training\n1,{},,90,2\n2,{},,80,2\n"


def runs_of(folder, *names):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        (folder / name / "history.csv").write_text(HISTORY.format(4, 2 + number))
    return [folder / name for name in names]


def test_each_measure_is_drawn_told_and_listed(tmp_path):
    runs = runs_of(tmp_path, "a/seed0", "<b>/seed0")
    write_dashboard(runs, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>" not in page and "http" not in page and "<script" not in page
    drawings = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]
    told = [d.get("aria-label") for d in drawings if d.get("role") == "img"]
    assert told == [
        "Loss (weighted sum) over 2 epochs: a/seed0 from 4 to 2; <b>/seed0 from 4 to 3",
        "Clusters over 2 epochs: a/seed0 from 90 to 80; <b>/seed0 from 90 to 80",
        "Optimiser steps (s) over 2 epochs: a/seed0 from 2 to 2; <b>/seed0 from 2 to 2",
    ]
    # The first run's loss falls from the frame's top to its bottom, the second's half as far.
    paths = [p.get("d") for p in drawings[2].iter("path")]
    frame, first, second = ([float(v) for v in re.findall(r"[\d.]+", path)] for path in paths)
    assert first[1] == frame[1] and first[3] == frame[2]
    assert second[3] == pytest.approx((frame[1] + frame[2]) / 2, abs=0.1)
    assert page.count("<summary>") == 2 and page.count("<td") == 2 * 2 * 4


def test_what_has_no_history_is_named(tmp_path):
    out = tmp_path / "page.html"
    runs = runs_of(tmp_path, *(f"run{i}" for i in range(LINES + 1)))
    with pytest.raises(ScwmError, match="7 runs"):
        write_dashboard(runs, out)
    (runs[0] / "history.csv").write_text("epoch,loss\n")
    with pytest.raises(ScwmError, match="not trained"):
        write_dashboard(runs[:2], out)
    for damaged in ("", "epoch,loss\n1,0.5\n2,half\n", "loss\n0.5\n"):
        (runs[0] / "history.csv").write_text(damaged)
        with pytest.raises(ScwmError, match=r"(?s)history is damaged.*history\.csv"):
            write_dashboard(runs[:2], out)
    (runs[0] / "history.csv").unlink()
    with pytest.raises(ScwmError, match="train the run"):
        write_dashboard(runs[:2], out)
    assert not out.exists()


def test_runs_of_two_folders_have_two_names(tmp_path):
    runs = [tmp_path / folder / "toy/scwm/seed0" for folder in ("one", "two")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "history.csv").write_text(HISTORY.format(4, 2))
    write_dashboard(runs, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "one/toy/scwm/seed0" in page and "two/toy/scwm/seed0" in page
    with pytest.raises(ScwmError, match="A run is given twice"):
        write_dashboard([runs[0], runs[0]], tmp_path / "page.html")
