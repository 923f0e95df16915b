"""One precision for scores whatever the CPU, and a precision of training that is recorded."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import scwm
from scwm.core.config import resolve_config
from scwm.core.device import resolve_precision
from scwm.core.errors import ScwmError
from scwm.evaluation.evaluate import evaluate, load_network
from scwm.evaluation.sides import read_features
from scwm.evaluation.study import study
from scwm.method.objective import Objective
from scwm.models import Network
from scwm.models.backbone import build_backbone, fold_batch_norm
from scwm.models.embedding import ImageBatches, collect, embed
from scwm.training.checkpoint import training_key
from scwm.training.trainer import Trainer

FROZEN = {"batch_norm": "frozen"}
CPU = torch.device("cpu")


@pytest.fixture
def fast_bfloat16(monkeypatch) -> None:
    """torch says that the CPU has bfloat16 instructions."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True)


@pytest.fixture(scope="module")
def reduced(start, tiny_config, toy_store, tmp_path_factory) -> Path:
    """A run trained in bfloat16 with frozen batch normalisation, and scored."""
    config = tiny_config("scwm", model=FROZEN, training={"precision": "bfloat16"})
    folder = start(config, tmp_path_factory.mktemp("reduced"))
    evaluate(folder, toy_store)
    return folder


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def resolved(precision: str, device: torch.device) -> str:
    config = resolve_config("scwm", "toy", 0, {"training": {"precision": precision}})
    return resolve_precision(config, device).training.precision


@pytest.mark.usefixtures("fast_bfloat16")
def test_auto_is_float32_on_every_cpu():
    assert resolved("auto", CPU) == "float32"
    assert resolved("tf32", CPU) == "float32", "a CPU has none"
    for named in ("float32", "bfloat16"):
        assert resolved(named, CPU) == named


@pytest.mark.parametrize("bfloat16", [False, True])
def test_auto_on_a_gpu_is_what_it_computes_in(monkeypatch, bfloat16):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bfloat16)
    expected = "bfloat16" if bfloat16 else "float32"
    assert resolved("auto", torch.device("cuda")) == expected


@pytest.mark.usefixtures("fast_bfloat16")
def test_a_run_has_the_same_bytes_on_every_cpu(start, finished, tiny_config, toy_store, tmp_path):
    """With `auto`; the other run asked for float32 by name, on this CPU as it is."""
    other = finished("scwm")
    run = start(tiny_config("scwm", training={"precision": "auto"}), tmp_path / "run")
    evaluate(run, toy_store)
    assert (run / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()
    assert (run / "features.npz").read_bytes() == (other / "features.npz").read_bytes()
    one, two = (torch.load(folder / "model.pt")["model"] for folder in (run, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("fast_bfloat16")
def test_scores_and_library_are_float32_after_training_in_bfloat16(reduced, toy_store, toy_folder):
    network, config = load_network(reduced / "model.pt")
    assert config.training.precision == "bfloat16"
    images = ImageBatches(toy_store.split("query").images, CPU)
    expected = embed(network, images, precision="float32").features()
    stored = read_features(reduced / "features.npz")["query"].embedding.features()
    model = scwm.load_model(reduced)
    files = sorted(toy_folder.glob("query/*.jpg"))
    for name, feature in expected.items():
        np.testing.assert_allclose(stored[name], feature, atol=1e-6)
        np.testing.assert_allclose(scwm.extract(model, files, name), feature, atol=1e-5)
    labels = embed(network, images, precision="float32").part_labels
    assert np.array_equal(scwm.parse(model, files), labels)
    lower = embed(network, images, precision="bfloat16").features()["both"]
    assert (lower - expected["both"]).abs().max() > 1e-3, "the test could not tell them apart"


def test_lower_precision_is_named(reduced, toy_store, tmp_path, start, tiny_config):
    assert metrics(reduced)["precision"] == "float32"
    assert metrics(reduced)["label_note"] == "trained in bfloat16"
    config = tiny_config("scwm", model=FROZEN, evaluation={"precision": "bfloat16"})
    run = start(config, tmp_path / "run")
    evaluate(run, toy_store)
    assert metrics(run)["precision"] == "bfloat16"
    assert metrics(run)["label_note"] == "features computed in bfloat16"
    assert study(run, toy_store)["precision"] == "bfloat16"


def test_a_model_of_before_is_scored_in_float32(reduced, tmp_path):
    """It lacks the setting, whose default it gets."""
    payload = torch.load(reduced / "model.pt")
    del payload["config"]["evaluation"]["precision"]
    torch.save(payload, tmp_path / "model.pt")
    assert load_network(tmp_path / "model.pt")[1].evaluation.precision == "float32"


def test_weights_that_diverged_are_not_scored(reduced, tmp_path):
    """ReLU6 on a CPU makes 0 of NaN, so that the features alone do not show it."""
    payload = torch.load(reduced / "model.pt")
    payload["model"]["backbone.stages.0.0.0.weight"][0] = torch.nan
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ScwmError, match=r"backbone\.stages\.0\.0\.0\.weight is not finite"):
        load_network(tmp_path / "model.pt")


def test_a_training_whose_weights_diverge_stops(start, tiny_config, tmp_path, monkeypatch):
    """With losses that stay finite."""
    config = tiny_config("scwm", model=FROZEN)

    def spoiled(trainer: Trainer, *given: object) -> None:
        run_steps(trainer, *given)
        with torch.no_grad():
            next(trainer.network.parameters())[0] = torch.nan

    run_steps = Trainer.run_steps
    monkeypatch.setattr(Trainer, "run_steps", spoiled)
    with pytest.raises(ScwmError, match=r"Diverged in epoch 1: backbone.* is not finite"):
        start(config, tmp_path / "run")


def test_training_records_what_auto_became(home, trained, scwm, write_config):
    run = "results/auto"
    write_config(run, "scwm", "training.precision=auto", "training.epochs=1")
    weights = ["--weights", "data/weights/toy.pt"]
    assert scwm(f"train {run} --store data/stores/toy", *weights) == 0
    assert json.loads((home / run / "train.json").read_text())["precision"] == "float32"
    assert torch.load(home / run / "model.pt")["config"]["training"]["precision"] == "float32"


def test_a_checkpoint_belongs_to_its_precision(tiny_config):
    keys = [
        training_key(tiny_config(training={"precision": precision}), "data", "weights")
        for precision in ("float32", "bfloat16")
    ]
    assert [key["config training.precision"] for key in keys] == ["float32", "bfloat16"]


def test_a_step_in_bfloat16_is_as_near_to_float32_as_by_torchs_own_layers(tiny_config):
    """All losses of a step, and the gradients of all parameters together."""
    config = tiny_config("scwm", model=FROZEN)
    torch.manual_seed(0)
    fused = Network(config).train()
    plain = copy.deepcopy(fused)
    plain.backbone = build_backbone("mobilenet_v2")
    fold_batch_norm(plain.backbone)
    plain.load_state_dict(fused.state_dict())
    images, labels = torch.randn(8, 3, 64, 32), torch.arange(8) // 2
    start = collect([plain(images)])
    assert start.part_labels is not None
    cells = torch.randint(4, start.part_labels.shape, dtype=torch.uint8)
    with torch.no_grad():
        objective = Objective.of(config, start, labels)

    def step(network: Network, reduced: bool) -> tuple[Tensor, Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            output = network(images)
        losses = objective.losses(output, cells, torch.arange(8))
        losses[0].backward()
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return losses.detach(), torch.cat(gradients)

    losses, gradient = step(plain, reduced=False)
    torch.testing.assert_close(step(fused, reduced=False)[1], gradient, rtol=1e-3, atol=1e-4)
    own, torchs = (step(network, reduced=True) for network in (fused, plain))
    torch.testing.assert_close(own[0], torchs[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own[0][0], losses[0], rtol=0.05, atol=0)
    errors = [(found[1] - gradient).norm() / gradient.norm() for found in (own, torchs)]
    assert errors[0] < 1.05 * errors[1] < 0.2, errors
