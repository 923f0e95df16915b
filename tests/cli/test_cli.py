"""The command line: the whole path on the tiny data set."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from trained_runs import history_of

from scwm.core.config import config_hash, load_config
from scwm.core.lock import Lock
from scwm.core.sources import code_hash, sources
from scwm.data.entries import store_sources
from scwm.method.objective import Objective
from scwm.training.checkpoint import state_name
from scwm.training.trainer import Trainer

RUN = "results/runs/mannequins/scwm/seed0"
COUNTS = {"train": 48, "query": 8, "gallery": 16}


def test_data_is_listed_and_decoded(trained):
    assert len((trained / "data/raw/toy/manifest.csv").read_text().splitlines()) > sum(
        COUNTS.values()
    )
    info = json.loads((trained / "data/stores/toy/store.json").read_text())
    assert info["counts"] == COUNTS and info["image_size"] == [64, 32] and info["masks"]


def test_a_store_records_the_code_that_decodes_it(trained):
    """The workflow builds a store again after an edit of the same files."""
    info = json.loads((trained / "data/stores/toy/store.json").read_text())
    patterns = store_sources("mannequins")
    assert info["code_hash"] == code_hash(patterns)
    used = {"data/images.py", "data/store.py", "data/reading.py", "data/layouts/market1501.py"}
    assert used <= set(sources(patterns))


def test_store_prints_its_counts(trained, scwm, capsys):
    words = "data store mannequins --root data/raw/toy --size 32x32 --out data/stores/small"
    assert scwm(words) == 0
    assert json.loads(capsys.readouterr().out) == COUNTS


def test_weights_are_copied_whole(trained):
    given, written = (
        torch.load(trained / name, weights_only=True)
        for name in ("given.pt", "data/weights/toy.pt")
    )
    assert all(torch.equal(given[name], written[name]) for name in given)


def test_config_holds_every_setting(trained, scwm):
    words = "config --method stripes --dataset d --seed 4 --out a/config.yaml --overrides"
    overrides = '{"training": {"epochs": 7, "iterations": 3}}'
    assert scwm(words, overrides, "--set", "training.epochs=9", "model.weights=none") == 0
    config = yaml.safe_load((trained / "a/config.yaml").read_text())
    assert (config["dataset"], config["method"], config["seed"]) == ("d", "stripes", 4)
    assert (config["training"]["epochs"], config["training"]["iterations"]) == (9, 3)
    assert (config["model"]["part_source"], config["model"]["weights"]) == ("stripes", "none")


@pytest.mark.parametrize("method", ["scwm", "random_features"])
def test_run_is_complete(trained, method):
    run = trained / "results/runs/mannequins" / method / "seed0"
    names = {path.name for path in run.iterdir()}
    outputs = "config.yaml model.pt history.csv train.json metrics.json provenance.json"
    assert names == {*outputs.split(), "features.npz", "queries.npz", "visuals.npz"}
    record = json.loads((run / "provenance.json").read_text())
    wanted = "commit dirty config_hash data_hash weights_hash versions hardware seed seconds"
    assert set(wanted.split()) <= set(record) and record["peak_memory_mib"] > 0
    assert record["seconds"] == pytest.approx(
        record["seconds_train"] + record["seconds_evaluate"], abs=1e-4
    )
    epochs = [float(row["cpu_seconds"]) for row in history_of(run)]
    assert all(seconds > 0 for seconds in epochs)
    trained_here = method == "scwm"
    assert record["cpu_seconds"] == (pytest.approx(sum(epochs)) if trained_here else None)
    assert (record["weights_hash"] == "none") == (method == "random_features")
    store = json.loads((trained / "data/stores/toy/store.json").read_text())
    assert record["data_hash"] == store["content_hash"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["method"] == method and 0 <= metrics["mAP"] <= 1


@pytest.mark.parametrize("name", ["main", "ablation"])
def test_table_is_written(trained, scwm, name, capsys):
    words = "--datasets mannequins --methods scwm random_features --seeds 0 --out"
    assert scwm(f"table {name} {words} results/tables/{name}") == 0
    printed = capsys.readouterr().out.split()
    assert all((trained / path).stat().st_size for path in printed)
    table = pd.read_csv(trained / f"results/tables/{name}.csv")
    found = set(table.astype(str).to_numpy().flatten())
    assert "scwm" in found and ("random_features" in found) == (name == "main")


@pytest.mark.parametrize("name", ["curves", "masks", "ranks"])
def test_plot_is_drawn(trained, scwm, name):
    words = "--datasets mannequins --methods scwm --seeds 0 --out"
    assert scwm(f"plot {name} {words} results/plots/{name}") == 0
    assert Image.open(trained / f"results/plots/{name}.png").width > 100
    assert "<svg" in (trained / f"results/plots/{name}.svg").read_text()


def test_missing_runs_are_an_error_or_a_gap(trained, scwm, told):
    words = "table main --datasets mannequins --methods scwm stripes --seeds 0 1 --out gaps/main"
    assert scwm(words) == 1
    error = told()
    assert "3 runs are missing" in error and "stripes/seed1" in error
    assert not (trained / "gaps").exists()
    assert scwm(f"{words} --partial") == 0
    assert (trained / "gaps/main.csv").exists()


def test_data_set_without_masks_has_no_parsing_scores(
    trained, scwm, write_config, toy_folder, caplog
):
    """A method with parts trains and is scored all the same."""
    plain = trained / "plain"
    plain.mkdir()
    for path in toy_folder.glob("bounding_box_*"):
        (plain / path.name).symlink_to(path)
    (plain / "query").symlink_to(toy_folder / "query")
    assert scwm("data get folder --out data/raw/folder --source", plain) == 0
    words = "data store folder --root data/raw/folder --size 64x32 --out data/stores/folder"
    assert scwm(words) == 0
    write_config("bare", "scwm", "training.epochs=1", dataset="folder")
    assert scwm("train bare --store data/stores/folder --weights given.pt") == 0
    assert scwm("evaluate bare --store data/stores/folder") == 0
    metrics = json.loads((trained / "bare/metrics.json").read_text())
    assert metrics["parsing"] is None and 0 <= metrics["mAP"] <= 1
    assert ", over 8 of 8 queries with a match" in caplog.text


def test_empty_split_is_told(trained, scwm, write_config, toy_folder, capsys, told):
    """Crops to search in, but none to train on."""
    for split in ("query", "gallery"):
        (trained / "search" / split).mkdir(parents=True)
        for path in (toy_folder / "query").iterdir():
            (trained / "search" / split / path.name).symlink_to(path)
    words = "data store folder --root search --size 64x32 --out data/stores/search"
    assert scwm(words) == 0
    write_config("search/run", "scwm", dataset="folder")
    capsys.readouterr()
    assert scwm("train search/run --store data/stores/search") == 1
    assert "the split has 0" in told()


def test_stopped_training_goes_on(trained, scwm, write_config, capsys, monkeypatch):
    """Ctrl-C between steps ends with status 130; the same command then starts at the second
    epoch."""
    write_config("stopped", "global_only", "training.iterations=1")
    command = "train stopped --store data/stores/toy --weights given.pt"
    start_epoch, seen = Trainer.start_epoch, []

    def interrupted(self: Trainer, epoch: int) -> object:
        seen.append(epoch)
        if seen == [0, 1]:
            raise KeyboardInterrupt
        return start_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "start_epoch", interrupted)
    assert scwm(command) == 130
    assert "resumes from its last checkpoint" in capsys.readouterr().err
    assert list((trained / ".scwm/state").glob("*/checkpoint.pt"))
    assert scwm(command) == 0
    assert seen == [0, 1, 1] and len(pd.read_csv(trained / "stopped/history.csv")) == 2
    assert not list((trained / ".scwm/state").glob("*global_only*/*.pt"))


def test_a_signal_stops_a_training_with_its_own_status(trained, scwm, write_config, monkeypatch):
    """75, by which a scheduler knows that the same command goes on."""
    write_config("signalled", "cluster_contrast", "training.iterations=1")
    command = "train signalled --store data/stores/toy --weights given.pt"
    update, steps = Objective.update, []

    def signalled(self: Objective, *arguments: object) -> None:
        update(self, *arguments)
        steps.append(1)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Objective, "update", signalled)
    assert scwm(command) == 75 and len(steps) == 1
    assert list((trained / ".scwm/state").glob("*cluster_contrast*/checkpoint.pt"))


@pytest.mark.parametrize("finished", [True, False])
def test_a_second_training_of_a_run_waits(trained, scwm, write_config, caplog, finished):
    """It trains only if the first one did not finish."""
    run = Path(f"waited_{finished}")
    write_config(run, "global_only", "training.iterations=1", "training.epochs=1")
    config = load_config(run / "config.yaml")
    lock = Lock(Path(".scwm/state", f"{state_name(config, run)}.lock"))
    assert lock.acquire()

    def end_first() -> None:
        deadline = time.monotonic() + 60
        while "waiting for process" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        record = {"config_hash": config_hash(config) if finished else "of another config"}
        (trained / run / "train.json").write_text(json.dumps(record))
        lock.release()

    first = threading.Thread(target=end_first)
    first.start()
    assert scwm(f"train {run} --store data/stores/toy --weights given.pt") == 0
    first.join()
    assert f"waiting for process {os.getpid()}" in caplog.text
    assert (trained / run / "model.pt").exists() != finished


def test_results_go_to_stdout_and_messages_to_stderr(trained, scwm, toy_folder, capsys):
    words = f"cluster {RUN} {toy_folder / 'query'} --out clusters --k1 30"  # more than crops
    results = []
    for verbosity in ("-q ", "", "-v "):
        capsys.readouterr()
        assert scwm(verbosity + words) == 0
        out, err = capsys.readouterr()
        results.append(out)
        assert "scwm: warning: " in err  # k1 shrinks
        assert ("scwm: 8 crops, " in err) == (verbosity != "-q ")
    assert results == results[:1] * 3
    found = r"\d identities, \d crops unclustered\nclusters/clusters\.html\n"
    assert re.fullmatch(found, results[0])


def test_progress_bars_are_for_terminals_that_are_not_quiet(
    trained, scwm, toy_folder, monkeypatch, capsys
):
    words = f"extract {RUN} {toy_folder / 'query'} --out features.npz"
    for terminal, option, shown in ((False, "", False), (True, "", True), (True, "-q", False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda value=terminal: value, raising=False)
        assert scwm(f"{option} {words}") == 0
        assert ("crops:" in capsys.readouterr().err) == shown


def test_verbose_shows_the_traceback_of_an_error(trained, scwm, capsys):
    for option, shown in (("", False), ("-v", True)):
        assert scwm(f"{option} data get nothing --out x") == 1
        assert ("Traceback" in capsys.readouterr().err) == shown
