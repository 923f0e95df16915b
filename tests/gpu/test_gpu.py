"""What a CPU computes, computed on a GPU."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score

from benchmarks import inputs
from scwm.core.device import place
from scwm.data.augment import Augment
from scwm.evaluation.ranking import query_scores
from scwm.method.memory import WeightedMemory
from scwm.method.parsing import cascaded_clustering
from scwm.method.pseudo_labels import pseudo_labels
from scwm.models import embedding
from scwm.models.embedding import ImageBatches, embed
from scwm.training.trainer import build_network

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_images_live_on_the_gpu_or_come_pinned(toy_store, monkeypatch):
    images = toy_store.split("train").images
    rows = [np.array([3, 1, 7]), slice(2, 5)]
    for resident in (True, False):
        monkeypatch.setattr(embedding, "fits", lambda *_, resident=resident: resident)
        batches = ImageBatches(images, GPU)
        assert batches.reads_ahead != resident
        for item, found in batches.along(rows, lambda item: item):
            assert found.is_cuda and batches._read(item).is_pinned()
            np.testing.assert_array_equal(found.cpu().numpy(), images[item])


def test_augmentation_is_that_of_the_cpu(toy_store):
    images = torch.from_numpy(np.array(toy_store.split("train").images[:8]))
    augment = Augment()
    height, width = images.shape[1:3]
    draws = augment.draw(8, height, width, torch.Generator().manual_seed(0))
    ours, _ = augment.apply(images.to(GPU), None, draws)
    expected, _ = augment.apply(images, None, draws)
    torch.testing.assert_close(ours.cpu(), expected, atol=1e-5, rtol=1e-5)


def test_features_are_those_of_the_cpu(tiny_config, toy_store, toy_weights):
    network = build_network(tiny_config("scwm"), toy_weights)
    images = np.array(toy_store.split("train").images)
    expected = embed(place(network, CPU), ImageBatches(images, CPU), 16, "float32")
    found = embed(place(network, GPU), ImageBatches(images, GPU), 16, "float32")
    for name, value in expected.features().items():
        near = torch.linalg.vecdot(found.features()[name].cpu(), value)
        assert near.min() >= 1 - 1e-4, name


def test_pseudo_labels_are_those_of_the_cpu():
    features = torch.from_numpy(inputs.features(inputs.identities(3000)))
    np.testing.assert_array_equal(pseudo_labels(features.to(GPU)), pseudo_labels(features))


def test_pixel_clustering_is_that_of_the_cpu():
    draws = torch.randn(60, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    maps, groups = draws.cumsum(2) / 4, np.arange(60) % 7
    ours = cascaded_clustering(maps.to(GPU), groups, 3)
    expected = cascaded_clustering(maps, groups, 3)
    assert adjusted_rand_score(ours.cpu().flatten(), expected.flatten()) > 0.98


@pytest.mark.parametrize("rerank", [False, True])
def test_ranking_is_that_of_the_cpu(rerank):
    ids, cameras = np.arange(400) % 40, np.arange(400) % 7
    features = unit(400, 64)
    sides = (features[:80], ids[:80], cameras[:80]), (features[80:], ids[80:], cameras[80:])
    expected = query_scores(*sides[0], *sides[1], rerank=rerank)
    there = [(features.to(GPU), *labels) for features, *labels in sides]
    found = query_scores(*there[0], *there[1], rerank=rerank)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9)


@pytest.mark.parametrize("strategy", ["uniform", "hardest", "hard_mining", "noise_suppression"])
def test_memory_is_that_of_the_cpu(strategy):
    centroids, features, labels = unit(9, 3, 32), unit(24, 3, 32, seed=1), torch.arange(24) % 9
    seen = torch.rand(24, 3, generator=torch.Generator().manual_seed(2))
    here, there = (WeightedMemory(centroids, strategy=strategy).to(d) for d in (CPU, GPU))
    loss = here(features, labels, seen)
    moved = [x.to(GPU) for x in (features, labels, seen)]
    torch.testing.assert_close(there(*moved).cpu(), loss, atol=1e-4, rtol=1e-5)
    here.update(features, labels, seen)
    there.update(*moved)
    torch.testing.assert_close(there.centroids.cpu(), here.centroids, atol=1e-5, rtol=0)
