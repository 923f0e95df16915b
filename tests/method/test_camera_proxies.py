"""Camera-aware proxies and the inter-camera loss against plain loops, one image at a time."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.method.camera_proxies import Proxies, camera_proxies, inter_camera_losses
from scwm.method.refinement import Refinement
from scwm.models import Output
from scwm.models.embedding import Embedding

IMAGES, PARTS, WIDTH, CHANNELS = 400, 3, 12, 8
# Number of clusters, and cameras, of which -3 is unknown. Cluster 0 has only the second camera.
DATA = {
    "many clusters": (90, [0, 1, 2, 5]),
    "fewer than 50 negatives": (7, [0, 1, 4]),
    "unknown cameras": (60, [-3, 0, 1]),
    "one camera": (70, [4]),
    "one cluster": (1, [0, 1, 2]),
    "one cluster of one camera": (1, [2]),
}
every_data = pytest.mark.parametrize(("clusters", "cameras"), DATA.values(), ids=DATA)


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def embedding(visibility: Tensor | None = None) -> Embedding:
    seen = torch.ones(IMAGES, PARTS) if visibility is None else visibility
    return Embedding(unit(IMAGES, WIDTH), unit(IMAGES, PARTS, CHANNELS, seed=1), seen)


def labelled(clusters: int, cameras: list[int]) -> tuple[Tensor, np.ndarray]:
    """Labels, of which some are -1, and cameras of the images."""
    chance = np.random.default_rng(3)
    labels, own = chance.integers(-1, clusters, IMAGES), chance.choice(cameras, IMAGES)
    labels[:clusters] = range(clusters)
    if clusters > 1 and len(cameras) > 1:
        own[labels == 0] = cameras[1]
    return torch.from_numpy(labels), own


def of_epoch(clusters: int, cameras: list[int]) -> tuple[Proxies, Tensor, np.ndarray]:
    labels, own = labelled(clusters, cameras)
    return camera_proxies(embedding(), labels, own), labels, own


# Proxies


def plain_mean(rows: list[np.ndarray], weights: list[float]) -> np.ndarray:
    total = sum(w * row for w, row in zip(weights, rows, strict=True))
    return total / math.sqrt(sum(total**2))


@every_data
def test_proxies_are_unit_means_of_a_cluster_in_a_camera(clusters, cameras):
    seen = torch.from_numpy(np.random.default_rng(4).uniform(0.1, 1, (IMAGES, PARTS)))
    (labels, own), found = labelled(clusters, cameras), embedding(seen)
    whole, parts, pairs, kept = camera_proxies(found, labels, own)
    assert found.part_features is not None
    expected = sorted({(y, c) for y, c in zip(labels.tolist(), own.tolist(), strict=True)
                       if y >= 0 and c >= 0})  # fmt: skip
    assert [tuple(pair) for pair in pairs.tolist()] == expected
    assert kept.tolist() == own.tolist()
    for p, (cluster, camera) in enumerate(expected):
        rows = [i for i in range(IMAGES) if labels[i] == cluster and own[i] == camera]
        images = [found.global_feature[i].numpy() for i in rows]
        np.testing.assert_allclose(whole[p], plain_mean(images, [1.0] * len(rows)), atol=1e-6)
        for k in range(PARTS):
            images = [found.part_features[i, k].numpy() for i in rows]
            weights = [float(seen[i, k]) for i in rows]
            np.testing.assert_allclose(parts[k, p], plain_mean(images, weights), atol=1e-6)


@pytest.mark.parametrize("clustered", [True, False])
def test_without_a_clustered_image_of_a_known_camera_is_an_error(clustered):
    """The store separates unknown cameras, also those of a data set of one camera."""
    labels = torch.arange(IMAGES) % 5 if clustered else torch.full((IMAGES,), -1)
    cameras = -1 - np.arange(IMAGES) if clustered else np.arange(IMAGES) % 3
    with pytest.raises(ScwmError, match="no clustered image has a known camera"):
        camera_proxies(embedding(), labels, cameras)


# Loss


def plain_loss(
    features: np.ndarray,
    proxies: np.ndarray,
    pairs: list[list[int]],
    labels: list[int],
    cameras: list[int],
) -> tuple[float, np.ndarray]:
    """The loss of one feature's images, and its gradient."""
    total, slopes = 0.0, np.zeros(features.shape)
    for i, f in enumerate(features):
        scores = [float(f @ proxy) / 0.07 for proxy in proxies]
        same = [p for p, (cluster, _) in enumerate(pairs) if cluster == labels[i]]
        positive = [p for p in same if pairs[p][1] != cameras[i] and cameras[i] >= 0]
        negative = [p for p, (cluster, _) in enumerate(pairs) if cluster != labels[i]]
        negative = sorted(negative, key=lambda p: -scores[p])[:50]
        if not positive:
            continue
        compared = positive + negative
        joint = sum(math.exp(scores[p]) for p in compared)
        for p in positive:
            total -= math.log(math.exp(scores[p]) / joint) / len(positive) / len(features)
            slopes[i] -= proxies[p] / 0.07 / len(positive) / len(features)
        for p in compared:
            slopes[i] += proxies[p] / 0.07 * math.exp(scores[p]) / joint / len(features)
    return total, slopes


@every_data
@pytest.mark.parametrize("seed", range(3))
def test_loss_contrasts_other_cameras_with_the_hardest_of_other_clusters(clusters, cameras, seed):
    """An image is drawn four times; batches have images of a cluster of one camera."""
    proxies, labels, own = of_epoch(clusters, cameras)
    drawn = np.random.default_rng(seed).choice(np.flatnonzero(labels >= 0), 12)
    rows = torch.from_numpy(np.concatenate([[0, 0, 0, 0], drawn]))
    whole = unit(16, WIDTH, seed=seed + 5).requires_grad_()
    parts = unit(16, PARTS, CHANNELS, seed=seed + 9).requires_grad_()
    found = inter_camera_losses(proxies, Output(whole, parts), labels[rows], rows)
    known = proxies[2].tolist(), labels[rows].tolist(), own[rows.numpy()].tolist()
    loss, slopes = plain_loss(whole.detach().numpy(), proxies[0].double().numpy(), *known)
    of_parts = [
        plain_loss(parts[:, k].detach().numpy(), proxies[1][k].double().numpy(), *known)
        for k in range(PARTS)
    ]
    assert (loss > 0) == (len(cameras) > 1)
    assert float(found[0].detach()) == pytest.approx(loss, rel=1e-9)
    assert float(found[1].detach()) == pytest.approx(np.mean([x for x, _ in of_parts]), rel=1e-9)
    (found[0] + PARTS * found[1]).backward()
    np.testing.assert_allclose(whole.grad, slopes, atol=1e-9)
    for k in range(PARTS):
        np.testing.assert_allclose(parts.grad[:, k], of_parts[k][1], atol=1e-9)


def test_images_without_a_proxy_to_compare_cost_nothing():
    """A cluster of one camera, and images of unknown cameras: no loss and a gradient of 0."""
    proxies, labels, own = of_epoch(*DATA["unknown cameras"])
    rows = torch.from_numpy(np.flatnonzero((labels.numpy() == 0) | (own < 0)))
    rows = rows[labels[rows] >= 0]
    whole = unit(len(rows), WIDTH, seed=5).requires_grad_()
    parts = unit(len(rows), PARTS, CHANNELS, seed=6).requires_grad_()
    found = inter_camera_losses(proxies, Output(whole, parts), labels[rows], rows)
    assert len(rows) > 20 and [float(loss.detach()) for loss in found] == [0, 0]
    (found[0] + found[1]).backward()
    assert not whole.grad.any() and not parts.grad.any()


@pytest.mark.parametrize("epoch", [0, 7])
def test_refinement_adds_the_weighted_loss_from_the_first_epoch(tiny_config, epoch):
    """To the loss of the global feature and to that of the parts."""
    model = {"parts": PARTS, "part_channels": CHANNELS}
    config = tiny_config("pplr_cameras@refinement.cameras=0.3", model=model)
    made = Refinement(config, IMAGES, WIDTH).double()
    proxies, labels, _ = of_epoch(*DATA["fewer than 50 negatives"])
    rows = torch.from_numpy(np.flatnonzero(labels >= 0)[:16])
    lengths = torch.ones(16, 1 + PARTS, dtype=torch.float64)
    output = Output(unit(16, WIDTH), unit(16, PARTS, CHANNELS), lengths=lengths)
    start = epoch, unit(7, WIDTH), unit(7, PARTS, CHANNELS), unit(IMAGES, PARTS).abs()
    made.start(*start, proxies)
    whole, part = made(output, labels[rows], rows)
    made.start(*start)
    expected = zip(
        made(output, labels[rows], rows),
        inter_camera_losses(proxies, output, labels[rows], rows),
        strict=True,
    )
    for found, (without, added) in zip((whole, part), expected, strict=True):
        assert float(added) > 0.1
        torch.testing.assert_close(found, without + 0.3 * added)


def test_cameras_without_a_refinement_are_an_error(tiny_config):
    message = "refinement.cameras is above 0, but no refinement computes its loss"
    with pytest.raises(ScwmError, match=re.escape(message)):
        tiny_config("scwm", refinement={"cameras": 0.5})
