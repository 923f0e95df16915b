"""`scwm benchmark`: the steps it takes, in which order, and what it does not do twice."""

import json
import os
import shutil
from pathlib import Path

import pytest

from scwm.cli import benchmark
from scwm.cli import main as cli
from scwm.core.config import config_hash, load_config
from scwm.core.errors import ScwmError
from scwm.core.files import file_hash
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.entries import Source, lookup
from scwm.data.registry import origin

DATA_HASH = "ab12"


@pytest.fixture
def versions() -> dict[str, int]:
    """Versions of the code of train, evaluate, transfer and store."""
    return {}


@pytest.fixture
def steps(tmp_path, monkeypatch, versions):
    """The commands that are called, in an empty folder; each writes what it promises."""
    called: list[str] = []
    trained: dict[Path, dict[str, str]] = {}

    def call(*words: str) -> None:
        called.append(" ".join(words))
        if "--transfer" in words:
            target = Path(words[words.index("--store") + 1]).parent.name
            file = Path(words[words.index("evaluate") + 1], f"transfer/{target}.json")
            file.parent.mkdir(exist_ok=True)
            scored = {"data_hash": DATA_HASH, "code_hash": code("transfer")}
            file.write_text(json.dumps(scored))
        elif "evaluate" in words:
            run = Path(words[words.index("evaluate") + 1])
            record = {"seconds": 2.0, "code_hash_evaluate": code("evaluate"), **trained[run]}
            (run / "provenance.json").write_text(json.dumps(record))
            (run / "metrics.json").write_text('{"mAP": 0.5, "rank1": 0.6}')
        elif "train" in words:
            run = Path(words[words.index("train") + 1])
            trained[run] = {"config_hash": config_hash(load_config(run / "config.yaml"))}
            trained[run] |= {"data_hash": DATA_HASH, "code_hash": code("train")}
            weights = Path(words[-1])
            trained[run] |= {"weights_hash": file_hash(weights)} if weights.exists() else {}
            (run / "provenance.json").unlink(missing_ok=True)
            shutil.rmtree(run / "transfer", ignore_errors=True)
            (run / "train.json").write_text(json.dumps(trained[run]))
            (run / "model.pt").touch()
        elif "--out" in words:
            out = Path(words[words.index("--out") + 1])
            file = out / {"get": "manifest.csv", "store": "store.json"}.get(words[1], "")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"content_hash": DATA_HASH, "code_hash": code("store")}))
            if words[1] == "get":
                made = origin(lookup(words[2]).source)
                if "--source" in words:
                    made = origin(Source(path=words[words.index("--source") + 1]))
                source = {"root": None, "source": made}
                (out / "source.json").write_text(json.dumps(source))

    def code(step: str) -> str:
        return f"{step} {versions.get(step, 1)}"

    def code_hash(patterns: list[str]) -> str:
        step = {"trainer": "train"}.get(Path(patterns[0]).stem, Path(patterns[0]).stem)
        named = "data/layouts/" if step == "store" else "method/strategies/noise_suppression.py"
        assert step == "transfer" or any(named in pattern for pattern in patterns)
        return code(step)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(benchmark, "_scwm", call)
    monkeypatch.setattr("scwm.core.sources.code_hash", code_hash)
    return called


def change_record(store: Path, **changes: str) -> None:
    made = store / "store.json"
    made.write_text(json.dumps(json.loads(made.read_text()) | changes))


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


@pytest.mark.parametrize("change", ["seed", "renderer", "damaged", "older store", "other data"])
def test_other_people_are_rendered_and_trained_on_again(steps, change):
    Path("small.yaml").write_text("{datasets: [mannequins_tiny], methods: [scwm], seeds: [0]}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    raw, store = Path("data/raw/mannequins_tiny"), Path("data/stores/mannequins_tiny/256x128")
    made = json.loads((raw / "source.json").read_text())
    other = {"seed": {"seed": 5}, "renderer": {"renderer": "older"}}  # as after a new freeze
    if change in other:
        changed = made | {"source": made["source"] | other[change]}
        (raw / "source.json").write_text(json.dumps(changed))
    elif change == "damaged":
        (raw / "source.json").write_text("{")
    elif change == "older store":
        os.utime(store / "store.json", (0, 0))
    else:
        change_record(store, content_hash="cd34")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    expected = {
        "seed": ["data get", "data store"],
        "renderer": ["data get", "data store"],
        "damaged": ["data get", "data store"],
        "older store": ["data store"],
        "other data": ["launch --processes=1", "launch --gpus=0"],
    }
    starts = [" ".join(step.split()[:2]) for step in steps]
    assert starts == [" ".join(one.split()[:2]) for one in expected[change]], steps


def test_a_trained_run_without_scores_is_only_evaluated(steps):
    """As after an evaluation that ran out of memory."""
    Path("small.yaml").write_text("{datasets: [mannequins_tiny], methods: [scwm], seeds: [1]}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    run = Path("results/runs/mannequins_tiny/scwm/seed1")
    (run / "provenance.json").unlink()
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert len(steps) == 1 and " evaluate " in steps[0]
    (run / "model.pt").unlink()
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert len(steps) == 2 and " train " in steps[0] and " evaluate " in steps[1]


def test_a_file_of_weights_is_read_where_it_is(steps):
    """A copy would not follow its changes."""
    Path("own.bin").write_bytes(b"1")
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny], methods: [scwm], seeds: [1],"
        " settings: {model: {weights: ./own.bin}}}"
    )
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert steps[-2].endswith("--weights own.bin") and not any("weights " in s[:8] for s in steps)
    Path("own.bin").write_bytes(b"2")
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert len(steps) == 2 and " train " in steps[0]


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
    for made in Path(store), Path("data/stores/mannequins_tiny/256x128"):
        change_record(made, content_hash="cd34")  # the stub scores stay of the old data
        steps.clear()
        assert cli.main([*words, "--set", "training.epochs=2"]) == 0 and steps[-1:] == transfers


@pytest.mark.parametrize("change", ["train", "evaluate", "transfer", "weights"])
def test_runs_of_other_code_or_weights_are_made_again(steps, versions, change):
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny], methods: [scwm], seeds: [0], transfer: [mannequins]}"
    )
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    if change == "weights":
        Path("data/weights/resnet50-imagenet.pt").write_text("others")
    else:
        versions[change] = 2
    assert cli.main(["benchmark", "small.yaml"]) == 0
    named = ("--transfer", "-- train", "-- evaluate")
    made = [next(name for name in named if name in step).strip("- ") for step in steps]
    everything = ["train", "evaluate", "transfer"]
    expected = {"evaluate": ["evaluate"], "transfer": ["transfer"]}
    assert made == expected.get(change, everything), steps
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == []


@pytest.mark.parametrize("record", [{"code_hash": "older"}, {"code_hash": None}, {}])
def test_a_store_of_an_older_decoder_is_built_again(steps, record):
    """Also one without a record; its runs stay if its images are the same."""
    Path("small.yaml").write_text(
        "{datasets: [mannequins_tiny], methods: [scwm], seeds: [0], transfer: [mannequins]}"
    )
    assert cli.main(["benchmark", "small.yaml"]) == 0
    names = "mannequins_tiny", "mannequins"
    for name in names:
        made = Path("data/stores", name, "256x128/store.json")
        content = json.loads(made.read_text()) | record
        if not record:
            del content["code_hash"]
        made.write_text(json.dumps(content))
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert [step.split()[:3] for step in steps] == [["data", "store", name] for name in names]
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == []


def test_an_outdated_run_is_not_trained_on_a_store_of_an_older_decoder(steps, versions):
    """Although the data set is gone: it is got again."""
    Path("small.yaml").write_text("{datasets: [mannequins_tiny], methods: [scwm], seeds: [0]}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    shutil.rmtree("data/raw")
    versions["store"] = 2
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == [], "nothing is needed"
    versions["train"] = 2
    assert cli.main(["benchmark", "small.yaml"]) == 0
    starts = [" ".join(step.split()[:2]) for step in steps[:3]]
    assert starts == ["data get", "data store", "launch --processes=1"]


def test_another_source_is_taken(steps):
    """Also one of the data set that it is part of."""
    text = "datasets: [market1501_small]\nmethods: [scwm]\nseeds: [0]\nsources: {market1501: %s}"
    Path("small.yaml").write_text(text % "first")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert steps[0] == "data get market1501_small --source first --out data/raw/market1501_small"
    steps.clear()
    assert cli.main(["benchmark", "small.yaml"]) == 0 and steps == []
    Path("small.yaml").write_text(text % "second")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert [" ".join(step.split()[:2]) for step in steps] == ["data get", "data store"]
    assert "--source second" in steps[0]


@pytest.mark.parametrize(
    "key",
    [
        "setings: {}",
        "sweep: {model.part: [3]}",
        "transfer: [manequins]",
        "keypoints: {manequins: there}",
        "dataset_settings: {manequins: {}}",
    ],
)
def test_misspelt_keys_are_refused_as_by_the_workflow(steps, told, key):
    Path("small.yaml").write_text(f"{{datasets: [mannequins], methods: [scwm], seeds: [0], {key}}}")
    assert cli.main(["benchmark", "small.yaml"]) == 1 and steps == []
    assert "Did you mean" in told()


def test_a_variant_that_changes_nothing_is_refused_as_by_the_workflow(steps, told):
    Path("small.yaml").write_text(
        "{datasets: [mannequins], methods: [scwm, scwm@model.parts=6], seeds: [0]}"
    )
    assert cli.main(["benchmark", "small.yaml"]) == 1 and steps == []
    assert "scwm@model.parts=6 is scwm itself on mannequins" in told()


@pytest.mark.parametrize(
    ("key", "threads"), [("", "1"), ("gpu: true", "8"), ("threads_per_run: 3", "3")]
)
def test_threads_are_those_of_the_workflow(steps, monkeypatch, key, threads):
    """They decide the bytes of a training."""
    monkeypatch.setenv("SCWM_DEVICE", "cpu")
    Path("small.yaml").write_text(f"{{datasets: [mannequins], methods: [scwm], seeds: [0], {key}}}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    assert os.environ["OMP_NUM_THREADS"] == threads


def test_an_evaluation_makes_a_store_that_is_gone(steps, versions):
    Path("small.yaml").write_text("{datasets: [mannequins_tiny], methods: [scwm], seeds: [0]}")
    assert cli.main(["benchmark", "small.yaml"]) == 0
    steps.clear()
    shutil.rmtree("data/stores")
    versions["evaluate"] = 2
    assert cli.main(["benchmark", "small.yaml"]) == 0
    starts = [step.split(" -- ")[-1].split()[:2] for step in steps]
    assert [one[0] for one in starts] == ["data", "evaluate"] and starts[0][1] == "store"


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
