"""`scwm benchmark`: the steps it takes, in which order, and what it does not do twice."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from scwm.cli import benchmark
from scwm.cli import main as cli
from scwm.core.config import config_hash, load_config
from scwm.core.errors import ScwmError
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.entries import lookup

DATA_HASH = "ab12"


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """The commands that are called, in an empty folder; each writes what it promises."""
    called: list[str] = []

    def call(*words: str) -> None:
        called.append(" ".join(words))
        if "--transfer" in words:
            target = Path(words[words.index("--store") + 1]).parent.name
            file = Path(words[words.index("evaluate") + 1], f"transfer/{target}.json")
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"data_hash": DATA_HASH}))
        elif "evaluate" in words:
            run = Path(words[words.index("evaluate") + 1])
            record = {"config_hash": config_hash(load_config(run / "config.yaml")), "seconds": 2.0}
            record |= {"data_hash": DATA_HASH}
            (run / "provenance.json").write_text(json.dumps(record))
            (run / "metrics.json").write_text('{"mAP": 0.5, "rank1": 0.6}')
        elif "--out" in words:
            out = Path(words[words.index("--out") + 1])
            file = out / {"get": "manifest.csv", "store": "store.json"}.get(words[1], "")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"content_hash": DATA_HASH}))
            if words[1] == "get":
                source = {"root": None, "source": asdict(lookup(words[2]).source)}
                (out / "source.json").write_text(json.dumps(source))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "_scwm", call)
    return called


def test_benchmark_takes_the_workflows_steps_once(steps, capsys):
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny], methods: [scwm, global_only], seeds: [1], processes: 2,"
        " settings: {training: {epochs: 3}}}"
    )
    words = ["benchmark", "small.yaml", "--set", "training.iterations=7"]
    assert cli.main(words) == 0
    size, weights = "256x128", "data/weights/resnet50-imagenet.pt"
    store, runs = f"data/stores/mannequins_tiny/{size}", "results/runs/mannequins_tiny"
    expected = [
        "data get mannequins_tiny --out data/raw/mannequins_tiny",
        f"data store mannequins_tiny --root data/raw/mannequins_tiny --size {size} --out {store}",
        f"weights resnet50 imagenet --out {weights}",
    ]
    for method in ("scwm", "global_only"):
        run = f"{runs}/{method}/seed1"
        train = f"train {run} --store {store} --weights {weights}"
        expected.append(f"launch --processes=2 --gpus=0 -- {train}")
        expected.append(f"launch --gpus=0 -- evaluate {run} --store {store}")
        training = load_config(Path(run, "config.yaml")).training
        assert (training.epochs, training.iterations) == (3, 7)
    assert steps == expected
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert line == {"run": f"{runs}/scwm/seed1", "mAP": 0.5, "rank1": 0.6, "seconds": 2.0}

    steps.clear()
    assert cli.main(words) == 0 and steps == []
    assert cli.main([*words[:-1], "training.iterations=8"]) == 0
    assert [step.split(" -- ")[1].split()[0] for step in steps] == ["train", "evaluate"] * 2


@pytest.mark.parametrize("change", ["seed", "damaged", "older store", "other data"])
def test_other_people_are_rendered_and_trained_on_again(steps, change):
    Path("small.yaml").write_text("{datasets: [mannequins_tiny], methods: [scwm], seeds: [0]}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    raw, store = Path("data/raw/mannequins_tiny"), Path("data/stores/mannequins_tiny/256x128")
    made = json.loads((raw / "source.json").read_text())
    if change == "seed":  # as after `scwm freeze --again`
        (raw / "source.json").write_text(json.dumps(made | {"source": {"seed": 5}}))
    elif change == "damaged":
        (raw / "source.json").write_text("{")
    elif change == "older store":
        os.utime(store / "store.json", (0, 0))
    else:
        (store / "store.json").write_text('{"content_hash": "cd34"}')
    assert cli.main(["benchmark", "small.yaml"]) == 0
    expected = {
        "seed": ["data get", "data store"],
        "damaged": ["data get", "data store"],
        "older store": ["data store"],
        "other data": ["launch --processes=1", "launch --gpus=0"],
    }
    starts = [" ".join(step.split()[:2]) for step in steps]
    assert starts == [" ".join(one.split()[:2]) for one in expected[change]], steps


def test_benchmark_scores_on_other_data_sets_at_its_end(steps):
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny, mannequins], methods: [scwm], seeds: [0], sweep:"
        " {model.parts: [3]}, transfer: [mannequins], sources: {mannequins: there}}"
    )
    words = ["benchmark", "small.yaml", "--weights", "own.pt"]
    assert cli.main(words) == 0
    run, store = "results/runs/mannequins_tiny/scwm/seed0", "data/stores/mannequins/256x128"
    transfers = [f"launch --gpus=0 -- evaluate {run} --transfer --store {store}"]
    assert steps[-1:] == transfers == [step for step in steps if "transfer" in step]
    steps.clear()
    assert cli.main(words) == 0 and steps == []
    assert cli.main([*words, "--set", "training.epochs=2"]) == 0 and steps[-1:] == transfers
    for made in Path(store, "store.json"), Path("data/stores/mannequins_tiny/256x128/store.json"):
        made.write_text('{"content_hash": "cd34"}')  # the stub scores stay of the old data
        steps.clear()
        assert cli.main([*words, "--set", "training.epochs=2"]) == 0 and steps[-1:] == transfers


def test_finished_runs_need_no_data(steps):
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny], methods: [scwm], seeds: [0], transfer: [mannequins]}"
    )
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    shutil.rmtree("data/raw")
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == []
    shutil.rmtree("data")
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == []


def test_shipped_config_for_a_gpu_asks_for_one(steps, monkeypatch):
    monkeypatch.delenv("SCWM_DEVICE", raising=False)
    path = CONFIG_DIR / "market1501.yaml"
    assert read_yaml(path)["gpu"] is True
    words = ["benchmark", str(path), "--weights", "own.pt", "--results", "recorded"]
    assert cli.main([*words, "--set", "model.backbone=mobilenet_v2"]) == 0
    assert not any(step.startswith("weights") for step in steps)
    trains = [step for step in steps if " train " in step]
    assert len(trains) == 2 and all("--gpus=1" in step for step in trains)
    assert all(step.endswith("--weights own.pt") for step in trains)
    assert benchmark.os.environ["SCWM_DEVICE"] == "cuda"
    benchmark.os.environ.pop("SCWM_DEVICE")


def test_config_of_something_else_is_an_error(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 3")
    options = cli.build_parser().parse_args(["benchmark", str(tmp_path / "run.yaml")])
    with pytest.raises(ScwmError, match=r"(?s)Unknown key 'seed'.*mean 'seeds'.*run\.yaml"):
        options.run_command(options)
