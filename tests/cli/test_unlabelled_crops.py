"""Crops without labels, trained on from the folder to the rank list; crops of one camera."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from trained_runs import history_of

from scwm.data import build_store, load_dataset
from scwm.evaluation.evaluate import evaluate
from scwm.evaluation.sides import read_features
from scwm.reporting import PLOTS, TABLES

UNKNOWN = ("ari", "nmi", "wrong_share", "global_wrong_ratio", "part_wrong_ratio", "part_hard_rank")


@pytest.fixture(scope="module")
def crops(toy_folder, tmp_path_factory) -> Path:
    """The toy images of training under names that say nothing, some in a sub-folder."""
    folder = tmp_path_factory.mktemp("crops") / "crops"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(sorted((toy_folder / "bounding_box_train").iterdir())):
        shutil.copy(path, folder / ("more" if number % 2 else "") / f"crop {number:02d}.jpg")
    return folder


def test_unlabelled_crops_end_to_end(scwm, crops, toy_weights, write_config, home, caplog) -> None:
    caplog.set_level(logging.INFO, "scwm")
    torch.save(toy_weights, home / "toy.pt")
    assert scwm("data get folder --out data/raw/folder --source", crops) == 0
    assert "without identities: nothing will be scored" in caplog.text
    store, run = "data/stores/folder", "results/crops/runs/folder/scwm/seed0"
    assert scwm(f"data store folder --root data/raw/folder --size 64x32 --out {store}") == 0
    write_config(run, "scwm", dataset="folder")
    for command in (f"train {run} --weights toy.pt", f"evaluate {run}", f"study {run}"):
        assert scwm(f"{command} --store {store}") == 0
    assert "query and gallery without identities; not scored" in caplog.text

    last = history_of(Path(run))[-1]
    assert not any(last[name] for name in UNKNOWN) and float(last["loss"]) > 0
    assert int(last["clusters"]) > 1 and float(last["effective_parts"]) > 1
    metrics = json.loads(Path(run, "metrics.json").read_text())
    assert metrics["mAP"] is None and (metrics["queries"], metrics["queries_scored"]) == (8, 0)
    assert "query and gallery without identities" in metrics["label_note"]
    ranks = np.load(Path(run, "visuals.npz"))
    assert "rank_correct" not in ranks and np.isfinite(ranks["rank_score"]).all()
    assert ranks["rank_score"].max() < 1 - 1e-6, "a query's own file is left out"

    names = ["--runs", "results/crops/runs", "--datasets", "folder", "--methods", "scwm"]
    names += ["--seeds", "0"]
    shown = {name: f"results/crops/tables/{name}" for name in TABLES if name != "transfer"}
    for name, out in shown.items():
        assert scwm(f"table {name} --out {out}", *names) == 0
    assert "query and gallery without identities" in Path(shown["main"] + ".md").read_text()
    for name in PLOTS:
        if name != "transfer":
            assert scwm(f"plot {name} --out results/crops/plots/{name}", *names) == 0
    page = ["page", *names, "--plots", "results/crops/plots", "--out", "results/crops/report.html"]
    assert scwm(" ".join(page)) == 0
    assert "not scored" in Path("results/crops/summary.md").read_text()
    assert scwm("verify results/crops") == 0
    assert scwm(f"dashboard {run} --out results/crops/dashboard.html") == 0

    query = crops / "crop 00.jpg"
    assert scwm(f"rank {run} --out ranks --queries", query, "--gallery", crops) == 0
    listed = json.loads(Path("ranks/ranks.json").read_text())["queries"][0]["gallery"]
    assert len(listed) == 20 and query.name not in {Path(one["file"]).name for one in listed}
    assert scwm(f"export {run} --out model.safetensors") == 0
    assert "identities; not scored" in Path("model.md").read_text()


def plain_scores(
    sides: dict, paths: dict[str, list[str]], cameras: dict[str, int] | None = None
) -> tuple[float, float]:
    """mAP and rank-1 by colour histograms, with the query's own file left out, and other images of
    its identity and camera where `cameras` knows that, -1 for an unknown one."""
    known = cameras or {}
    query, gallery = (
        sides[name].embedding.global_feature.double() for name in ("query", "gallery")
    )
    precision, first = [], []
    for row, path in enumerate(paths["query"]):
        order = np.argsort(-(gallery @ query[row]).numpy(), kind="stable")
        kept = [place for place in order if paths["gallery"][place] != path]
        kept = [
            place
            for place in kept
            if known.get(path, -1) < 0
            or known[paths["gallery"][place]] != known[path]
            or sides["gallery"].ids[place] != sides["query"].ids[row]
        ]
        right = [sides["gallery"].ids[place] == sides["query"].ids[row] for place in kept]
        ranks = np.flatnonzero(right) + 1
        precision.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        first.append(ranks[0] == 1)
    return float(np.mean(precision)), float(np.mean(first))


@pytest.mark.parametrize("names", ["{person}_c3_{number}.jpg", "{person}/{number}.jpg"])
def test_one_camera_or_none_leaves_out_only_the_own_file(
    names, toy_folder, start, tiny_config, tmp_path
):
    for number, path in enumerate(sorted((toy_folder / "bounding_box_train").iterdir())):
        copy = tmp_path / "crops" / names.format(person=path.name[:4], number=number)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    store = build_store(load_dataset("folder", tmp_path / "crops"), tmp_path / "store", (64, 32))
    run = start(tiny_config("colour_histogram"), tmp_path / "run")
    evaluate(run, store)
    metrics = json.loads((run / "metrics.json").read_text())
    sides = read_features(run / "features.npz")
    paths = {name: store.split(name).paths for name in sides}
    assert (len(paths["query"]), metrics["queries_scored"]) == (8, 8)
    assert (metrics["mAP"], metrics["rank1"]) == pytest.approx(plain_scores(sides, paths), abs=1e-6)
    assert 0 < metrics["mAP"] < 1
    assert "one camera or none: only the query's own file is left out" in metrics["label_note"]


def test_images_of_unknown_cameras_are_counted_and_count_as_different(
    toy_folder, start, tiny_config, tmp_path
):
    """Next to images of known cameras."""
    cameras: dict[str, int] = {}
    rows = ["path,identity,camera"]
    for number, path in enumerate(sorted((toy_folder / "bounding_box_train").iterdir())):
        cameras[path.name] = (-1, 1, 1, 2)[number % 4]
        rows.append(f"{path.name},{path.name[:4]},{cameras[path.name]}")
    crops = shutil.copytree(toy_folder / "bounding_box_train", tmp_path / "crops")
    (crops / "images.csv").write_text("\n".join(rows))
    store = build_store(load_dataset("folder", crops), tmp_path / "store", (64, 32))
    run = start(tiny_config("colour_histogram"), tmp_path / "run")
    evaluate(run, store)
    metrics = json.loads((run / "metrics.json").read_text())
    sides = read_features(run / "features.npz")
    paths = {name: store.split(name).paths for name in sides}
    expected = plain_scores(sides, paths, cameras)
    assert (metrics["mAP"], metrics["rank1"]) == pytest.approx(expected, abs=1e-6)
    assert expected != plain_scores(sides, paths), "known cameras matter"
    unknown = {name: sum(cameras[one] < 0 for one in found) for name, found in paths.items()}
    counts = [f"{unknown[name]} of {len(paths[name])} {name}" for name in ("query", "gallery")]
    assert 0 < unknown["query"] < len(paths["query"])
    note = f"unknown cameras ({', '.join(counts)} images) count as different from all others"
    assert note in metrics["label_note"]
