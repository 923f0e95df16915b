"""Trainings on a GPU: every method to its scores, resumed, deterministic, without waits."""

from functools import cache

import numpy as np
import pytest
import torch
from pretended_cuda import PretendedTensor, counted
from processes import numbers_of
from trained_runs import KEY, model_of, same, untimed

from scwm.core.config import method_names
from scwm.core.errors import Interrupted
from scwm.core.files import read_json
from scwm.core.seeding import torch_generator
from scwm.evaluation import study as studies
from scwm.evaluation.evaluate import evaluate
from scwm.evaluation.ranking import query_scores
from scwm.method.parsing import cascaded_clustering
from scwm.models import embedding
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import Trainer, build_network, train

LAUNCHES = 750  # of a step of the toy configuration
WAITS_OF_PARSING = 70  # of a cascade with 20 steps of K-means
WAITS_OF_RANKING = 8  # of a chunk


@pytest.fixture(scope="module")
def trainer(tiny_config, toy_store, toy_weights):
    """``trainer(virtual_batch, resident, method)``: one that has done its first epoch, in which
    libraries choose and load; and its next epoch, whose steps may be taken several times."""

    @cache
    def make(virtual_batch: int, resident: bool = True, method: str = "scwm"):
        config = tiny_config(method, training={"virtual_batch": virtual_batch})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCWM_DEVICE", "cuda")
            patch.setattr(embedding, "fits", lambda *_: resident)
            made = Trainer(config, build_network(config, toy_weights), toy_store.split("train"))
        made.restore(None)
        made.run_steps(made.start_epoch(0))
        return made, made.start_epoch(1)

    return make


def strictly(trainer: Trainer, epoch) -> None:
    """The epoch's steps, of which none may wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.run_steps(epoch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", method_names())
def test_every_method_trains_and_is_scored(
    start, tiny_config, toy_store, tmp_path, monkeypatch, method
):
    """With deterministic algorithms, so that none may lack a deterministic kernel."""
    config = tiny_config(method, training={"deterministic": True})
    run = start(config, tmp_path / method)
    assert all(np.isfinite(row["loss"]) for row in numbers_of(run))
    evaluate(run, toy_store)
    assert 0 < read_json(run / "metrics.json")["mAP"] <= 1
    if method == "scwm":  # the study compares all strategies and settings, whatever the method
        monkeypatch.setattr(studies, "BATCHES", 2)
        monkeypatch.setattr(studies, "TAUS", studies.TAUS[:1])
        found = studies.study(run, toy_store)
        assert 0 < found["parsing"]["both"]["foreground_iou"] <= 1


@pytest.mark.usefixtures("mobilenet")
def test_the_backbone_of_the_recipes_trains(tiny_config, toy_store, tmp_path):
    settings = {"epochs": 1, "iterations": 1, "deterministic": True}
    config, state = tiny_config("oracle", training=settings), Checkpoints(tmp_path, KEY)
    train(config, toy_store.split("train"), None, tmp_path, state)
    assert np.isfinite(numbers_of(tmp_path)[0]["loss"])


@pytest.mark.parametrize("precision", ["auto", "float32", "tf32", "bfloat16"])
def test_training_comes_to_its_end(start, tiny_config, tmp_path, request, precision):
    if precision != "tf32":  # whose switches of torch are to be put back
        request.getfixturevalue("real")
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    run = start(tiny_config("scwm", training={"precision": precision}), tmp_path / "run")
    assert all(np.isfinite(row["loss"]) for row in numbers_of(run))
    after = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    assert after == before  # clustering and ranking never compute in TF32


@pytest.mark.parametrize("group", [0, 4])
def test_deterministic_training_gives_the_same_bytes(start, tiny_config, tmp_path, real, group):
    config = tiny_config("scwm", training={"deterministic": True, "virtual_batch": group})
    one, two = (start(config, tmp_path / name) / "model.pt" for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_gradients_are_deterministic_where_cells_are_not_whole(tiny_config, toy_weights):
    """Of images whose height and width the grid of part labels does not divide."""
    network = build_network(tiny_config("scwm", model={"image_size": [70, 38]}), toy_weights).cuda()
    torch.use_deterministic_algorithms(True)
    images = torch.rand(2, 3, 70, 38, generator=torch_generator(0, "images")).cuda()
    network(images).pixels.square().sum().backward()


def test_a_stopped_training_resumes_to_the_same_bytes(
    start, tiny_config, toy_store, toy_weights, tmp_path
):
    config = tiny_config("scwm", training={"epochs": 3, "deterministic": True})
    whole = start(config, tmp_path / "whole")
    run = tmp_path / "stopped"
    run.mkdir()
    split = toy_store.split("train")

    class Stopping(Checkpoints):
        def stop_if_asked(self, number: int) -> None:
            if number == 2:
                raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        train(config, split, toy_weights, run, Stopping(run / "state", KEY))
    train(config, split, toy_weights, run, Checkpoints(run / "state", KEY))
    assert same(model_of(whole), model_of(run))
    assert untimed(whole) == untimed(run)


def test_images_that_do_not_fit_give_the_same_model(start, tiny_config, tmp_path, monkeypatch):
    config = tiny_config("scwm", training={"deterministic": True})
    resident = start(config, tmp_path / "resident")
    monkeypatch.setattr(embedding, "fits", lambda *_: False)
    assert same(model_of(resident), model_of(start(config, tmp_path / "read")))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("group", [0, 4])
def test_no_step_waits_for_the_gpu(trainer, group, resident):
    strictly(*trainer(group, resident))


@pytest.mark.parametrize("method", ["pplr_cameras", "ise"])
def test_no_step_of_a_published_method_waits_for_the_gpu(trainer, method):
    strictly(*trainer(4, method=method))


def test_a_step_launches_a_budget_of_kernels(trainer, pretended):
    made, epoch = trainer(0)
    with counted() as counts:
        made.run_steps(epoch)
    steps = made.config.training.iterations
    assert not counts.waits
    assert LAUNCHES / 2 < sum(counts.launches.values()) / steps <= LAUNCHES, counts.launches


def test_clustering_of_pixels_waits_a_few_times_a_step(pretended):
    draws = torch.randn(60, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    maps, groups = (draws.cumsum(2) / 4).cuda(), torch.arange(60) % 7
    with counted() as counts:
        cascaded_clustering(maps, groups, 3)
    assert len(counts.waits) <= WAITS_OF_PARSING, counts.waits


def test_ranking_waits_a_few_times_a_chunk(pretended):
    features = torch.nn.functional.normalize(torch.randn(400, 64), dim=1).cuda()
    ids, cameras = np.arange(400) % 40, np.arange(400) % 7
    sides = (features[:80], ids[:80], cameras[:80]), (features[80:], ids[80:], cameras[80:])
    waits = []
    for chunk in (80, 20):  # one chunk, and four
        with counted() as counts:
            query_scores(*sides[0], *sides[1], chunk)
        waits.append(len(counts.waits))
    assert (waits[1] - waits[0]) / 3 <= WAITS_OF_RANKING, counts.waits


FAULTS = {
    "unique": lambda labels, images: labels.unique(),
    "item": lambda labels, images: labels.max().item(),
    "a blocking copy": lambda labels, images: labels.cpu(),
    "a draw on the host": lambda labels, images: torch.rand(3).to(labels.device),
    "numpy": lambda labels, images: labels.numpy(),
    "a truth value": lambda labels, images: bool((labels > 0).any()),
    "true identities on the host": lambda labels, images: torch.arange(len(labels))[labels],
    "mixed devices": lambda labels, images: images + torch.zeros(images.shape[1:]),
    "a generator of the host": lambda labels, images: torch.rand(
        3, device=labels.device, generator=torch.Generator()
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_a_step_is_caught(trainer, monkeypatch, fault):
    made, epoch = trainer(0)
    forward = made.forward

    def faulty(images):
        FAULTS[fault](epoch.labels, images)
        return forward(images)

    monkeypatch.setattr(made, "forward", faulty)
    with pytest.raises((RuntimeError, TypeError)):
        strictly(made, epoch)


def is_pretended() -> bool:
    return isinstance(torch.empty(0, device="cuda"), PretendedTensor)


@pytest.fixture
def pretended():
    """Skip a test of counts that only the pretended GPU has."""
    if not is_pretended():
        pytest.skip("a real GPU does not count its launches")


@pytest.fixture
def real():
    """Skip a test of what a CPU, which computes for the pretended GPU, always or never does."""
    if is_pretended():
        pytest.skip("only a real GPU has other precisions, and kernels that are not deterministic")
