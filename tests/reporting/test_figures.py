"""Figures of made-up runs: every one stands whatever is missing, and shows what plain pandas
computes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_runs import METHODS, SEEDS, TAUS, write_run, write_study
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from scwm import reporting
from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import CAPTIONS, Request, methods_of
from scwm.reporting.figures.catalogue import FIGURES
from scwm.reporting.figures.style import figure_style
from scwm.reporting.figures.times import STAGES
from scwm.reporting.figures.tsne import largest, plane
from scwm.reporting.runs import Runs, load_runs, run_folder

SWEPT = {"model.parts": (3, 8), "memory.global_tau": (0.03, 3), "losses.part": ("none",)}
VARIANTS = [f"scwm@{key}={value}" for key, values in SWEPT.items() for value in values]
ALL = [*METHODS, *VARIANTS]
ONE = ["mannequins"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one data set with variants."""
    root = tmp_path_factory.mktemp("runs")
    for method in ALL:
        for seed in SEEDS if method != VARIANTS[0] else SEEDS[:2]:
            write_run(root, "mannequins", method, seed)
    return root


@pytest.fixture(scope="module")
def studied(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs of scwm, two of them with a study."""
    place = tmp_path_factory.mktemp("studied")
    shutil.copytree(root / "mannequins/scwm", place / "mannequins/scwm")
    for seed in SEEDS[:2]:
        write_study(run_folder(place, "mannequins", "scwm", seed))
    return place


def drawn(name: str, runs: Runs, partial: bool = True) -> Figure:
    with figure_style():
        figure = FIGURES[name](runs, partial)
        figure.draw_without_rendering()
    return figure


def panels(figure: Figure) -> dict[str, Axes]:
    return {panel.get_title(): panel for panel in figure.axes}


CASES: dict[str, Callable[[Path], Runs]] = {
    "one seed, partial": lambda root: load_runs(
        Request(root, [*ONE, "market1501"], METHODS, SEEDS[:1], partial=True)
    ),
    "no parts, no scwm": lambda root: load_runs(
        Request(root, ONE, ["global_only", "pretrained"], SEEDS)
    ),
}


def test_every_figure_has_a_caption_and_a_function() -> None:
    assert set(FIGURES) == set(CAPTIONS) == set(reporting.PLOTS)


@pytest.mark.parametrize("name", reporting.PLOTS)
def test_every_figure_stands_whatever_is_missing(name: str, root: Path) -> None:
    for case, load in CASES.items():
        with figure_style():
            figure = FIGURES[name](load(root), True)
        width, height = figure.get_size_inches()
        assert 5 < width < 12 and 0.9 < height < 40, case


@pytest.mark.parametrize("name", ["sweeps", "tsne", "weights", "time", "masks", "ranks", "claims"])
def test_nothing_is_cut(name: str, root: Path, studied: Path) -> None:
    place = studied if name == "weights" else root
    figure = drawn(name, load_runs(Request(place, ONE, methods_of(name, ALL), SEEDS, partial=True)))
    width, height = figure.get_size_inches()
    shown = figure.get_tightbbox()
    assert shown.x0 > -0.01 and shown.y0 > -0.01
    assert shown.x1 < width + 0.01 and shown.y1 < height + 0.01


def test_sweeps_show_the_means_and_every_seed(root: Path) -> None:
    figure = drawn(
        "sweeps", load_runs(Request(root, ONE, methods_of("sweeps", ALL), SEEDS, partial=True))
    )
    shown = panels(figure)
    assert set(shown) == {"model.parts", "memory.global_tau"}  # "none" is no number
    runs = pd.json_normalize(
        [json.loads(path.read_text()) for path in root.glob("mannequins/scwm*/seed*/metrics.json")]
    ).set_index("method")
    for setting, usual in (("model.parts", 4), ("memory.global_tau", 0.3)):
        methods = {value: f"scwm@{setting}={value}" for value in SWEPT[setting]} | {usual: "scwm"}
        values = sorted(methods)
        line, points, *_ = shown[setting].lines
        assert list(line.get_xdata()) == values
        means = [100 * runs.loc[methods[value], "mAP"].mean() for value in values]
        np.testing.assert_allclose(line.get_ydata(), means)
        own = [100 * v for value in values for v in runs.loc[methods[value], "mAP"]]
        np.testing.assert_allclose(np.sort(points.get_ydata()), np.sort(own))
        marks = [m for m in shown[setting].lines if m.get_marker() == "D"]
        assert [m.get_xdata()[0] for m in marks] == [usual]
        assert marks[0].get_ydata()[0] == pytest.approx(means[values.index(usual)])
        low = {round(v, 6) for v in shown[setting].collections[0].get_paths()[0].vertices[:, 1]}
        spread = 100 * runs.loc["scwm", "mAP"].std()
        assert {round(means[values.index(usual)] + sign * spread, 6) for sign in (1, -1)} <= low
    assert shown["memory.global_tau"].get_xscale() == "log"
    assert shown["model.parts"].get_xscale() == "linear"


def test_weights_show_the_means_of_the_studies(studied: Path) -> None:
    figure = drawn("weights", load_runs(Request(studied, ONE, METHODS[:1], SEEDS)))
    studies = [
        json.loads((run_folder(studied, "mannequins", "scwm", seed) / "study.json").read_text())
        for seed in SEEDS[:2]
    ]
    sweep = pd.concat([pd.DataFrame(study["memory"]["sweep"]) for study in studies])
    fixed = pd.concat([pd.DataFrame(study["memory"]["strategies"]).T for study in studies])
    assert len(figure.axes) == 4
    columns = ["global_wrong_ratio", "part_wrong_ratio", "global_hard_rank", "part_hard_rank"]
    for panel, column in zip(figure.axes, columns, strict=True):
        lines = [np.asarray(line.get_ydata()) for line in panel.lines]
        for strategy in ("hard_mining", "noise_suppression"):
            means = sweep[sweep.strategy == strategy].groupby("tau")[column].mean()
            assert list(means.index) == list(TAUS)
            assert any(len(y) == len(means) and np.allclose(y, means) for y in lines)
        for strategy in ("uniform", "hardest"):
            level = fixed.loc[strategy, column].mean()
            assert any(np.allclose(y, level) for y in lines)
        points = [p for p in panel.collections if isinstance(p, PathCollection)]
        assert sum(len(p.get_offsets()) for p in points) == len(sweep)
    told = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "mannequins / scwm / seed 2: no study of its memories" in told


def test_times_show_the_means_of_each_stage(root: Path) -> None:
    figure = drawn("time", load_runs(Request(root, ONE, METHODS, SEEDS)))
    (panel,) = figure.axes
    widths = [bar.get_width() for bar in panel.patches]  # type: ignore[attr-defined]
    bars = np.array(widths).reshape(len(METHODS), len(STAGES))
    shown = pd.DataFrame(bars, columns=list(STAGES))
    shown.index = [label.get_text() for label in panel.get_yticklabels()]
    for method in METHODS:
        folders = [run_folder(root, "mannequins", method, seed) for seed in SEEDS]
        tables = [pd.read_csv(folder / "history.csv") for folder in folders]
        for stage in list(STAGES)[:4]:
            mean = np.mean([table[f"seconds_{stage}"].sum() for table in tables])
            assert shown.loc[method, stage] == pytest.approx(mean)
        totals = [json.loads((f / "provenance.json").read_text())["seconds"] for f in folders]
        assert shown.loc[method].sum() == pytest.approx(np.mean(totals))
        assert shown.loc[method, "evaluate"] == pytest.approx(7)
        assert shown.loc[method, "rest"] == pytest.approx(4.5)
        assert any(text.get_text() == f"{np.mean(totals):.0f}" for text in panel.texts)


def test_tsne_shows_each_image_of_the_largest_identities_twice(root: Path) -> None:
    figure = drawn("tsne", load_runs(Request(root, ONE, METHODS, SEEDS)))
    assert [panel.get_title() for panel in figure.axes[:3]] == ["pretrained", "global_only", "scwm"]
    for row, groups in ((figure.axes[:3], 12), (figure.axes[3:], 5)):
        for panel in row:
            assert len(panel.collections) == groups
            assert sum(len(dots.get_offsets()) for dots in panel.collections) == 48


def test_the_largest_identities_are_chosen_without_distractors() -> None:
    ids = np.r_[[0] * 9, [-1] * 9, np.arange(1, 21), [7, 7, 15, 15, 15, 20]]
    assert list(largest(ids)) == [15, 7, 20, 1, 2, 3, 4, 5, 6, 8, 9, 10]


def test_tsne_keeps_groups_apart() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(30) % 3
    points = plane((10 * np.eye(3)[groups] + rng.normal(size=(30, 3))).astype(np.float32))
    centres = np.array([points[groups == group].mean(0) for group in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
    assert (nearest == groups).all()


def test_missing_features_are_an_error_or_a_gap(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mannequins", "scwm", 0)
    (folder / "features.npz").unlink()
    runs = load_runs(Request(tmp_path, ONE, ["scwm"], [0]))
    with pytest.raises(ScwmError, match=r"features\.npz"):
        drawn("tsne", runs, partial=False)
    told = " ".join(text.get_text() for text in drawn("tsne", runs).findobj(Text))
    assert "no stored features" in told and "mannequins / scwm / seed 0" in told


def unlabelled_run(root: Path) -> Runs:
    """A run as it is evaluated without identities."""
    folder = write_run(root, "mannequins", "scwm", 0)
    features = dict(np.load(folder / "features.npz"))
    visuals = dict(np.load(folder / "visuals.npz"))
    metrics = json.loads((folder / "metrics.json").read_text())
    for side in ("query", "gallery"):
        features[f"{side}_ids"] = np.full_like(features[f"{side}_ids"], -1)
    del visuals["rank_correct"]
    np.savez(folder / "features.npz", **features)
    np.savez(folder / "visuals.npz", **visuals)
    (folder / "metrics.json").write_text(json.dumps(metrics | {"mAP": None}))
    return load_runs(Request(root, ONE, ["scwm"], [0]))


@pytest.mark.parametrize(
    ("name", "said"),
    [("ablation", "not scored: no identities"), ("tsne", "of known identities")],
)
def test_what_needs_identities_is_said_without_them(tmp_path, name, said) -> None:
    figure = drawn(name, unlabelled_run(tmp_path), partial=False)
    assert said in " ".join(text.get_text() for text in figure.findobj(Text))


def test_rank_lists_without_identities_have_no_marks(tmp_path) -> None:
    texts = [text.get_text() for text in drawn("ranks", unlabelled_run(tmp_path)).findobj(Text)]
    assert texts.count("query") == 4 and any(re.fullmatch(r"0\.\d\d", text) for text in texts)
    assert not any(sign in text for text in texts for sign in "✓✗")


def test_tsne_shows_unknown_cameras_as_one(tmp_path) -> None:
    folder = write_run(tmp_path, "mannequins", "scwm", 0)
    features = dict(np.load(folder / "features.npz"))
    features["gallery_cameras"] = -1 - np.arange(len(features["gallery_cameras"]))
    np.savez(folder / "features.npz", **features)
    figure = drawn("tsne", load_runs(Request(tmp_path, ONE, ["scwm"], [0])))
    assert [len(panel.collections) for panel in figure.axes] == [12, 1]
    assert "camera unknown" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("name", ["curves", "pseudo_labels"])
def test_long_names_of_methods_stay_inside_the_legend(tmp_path: Path, name: str) -> None:
    """As of config/baselines.yaml; a clipped name cannot be told from another."""
    methods = ["scwm", "no_space"]
    methods += [f"stripes@training.learning_rate=0.000{i}" for i in range(1, 6)]
    for method in methods:
        write_run(tmp_path, "mannequins", method, 0)
    figure = drawn(name, load_runs(Request(tmp_path, ["mannequins"], methods, [0])))
    figure.draw_without_rendering()
    (legend,) = (one for strip in figure.subfigs for one in strip.legends)
    box = legend.get_window_extent()
    assert box.x0 >= figure.bbox.x0 and box.x1 <= figure.bbox.x1
    assert [text.get_text() for text in legend.get_texts()] == methods
