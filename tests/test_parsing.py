"""Cascaded clustering: each step against a plain computation, and made-up people."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score

from scwm.errors import ScwmError
from scwm.evaluation import parsing_scores
from scwm.parsing import (
    activation,
    cascaded_clustering,
    cluster_parts,
    correct_foreground,
    keep_body,
    two_means,
)
from scwm.parsing.discriminant import LinearDiscriminant

H, W, C = 16, 8, 24


def figures(images: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel features (N,C,H,W) and true parts (N,H,W): a head, torso, legs and feet of which the
    feet look like the head, moved about; in each image some parts have a weak activation."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((images, H, W), int)
    for image in truth:
        left, top = rng.integers(1, 4), rng.integers(0, 3)
        for part, (start, stop, inset) in enumerate(
            [(0, 3, 1), (3, 7, 0), (7, 11, 0), (11, 13, 0)], start=1
        ):
            image[top + start : top + stop, left + inset : left + 4 - inset] = part
    looks = np.linalg.qr(rng.normal(size=(C, 5)))[0].T * 3
    looks[4] = 0.9 * looks[1] + 0.1 * looks[4]
    maps = looks[truth] + rng.normal(size=(images, H, W, C)) * 0.25
    weak = rng.random((images, 5)) < 0.4
    weak[:, 0] = True
    strength = np.where(weak, 0.45, 1.0)[np.arange(images)[:, None, None], truth]
    strength = strength * rng.uniform(0.8, 1.2, truth.shape)
    maps = maps * strength[..., None]
    return torch.from_numpy(maps).permute(0, 3, 1, 2).float(), torch.from_numpy(truth)


def test_two_means_is_the_best_of_all_thresholds():
    generator = torch.Generator().manual_seed(0)
    values, groups = torch.rand(9, 4, 3, generator=generator), torch.arange(9) % 3
    found = two_means(values, groups)
    for group in range(3):
        mine = values[groups == group].flatten().double().numpy()
        cut = min(
            np.unique(mine)[:-1],
            key=lambda t: (
                mine[mine <= t].var() * (mine <= t).sum() + mine[mine > t].var() * (mine > t).sum()
            ),
        )
        assert np.array_equal(found[groups == group].flatten().numpy(), mine > cut)
        kmeans = KMeans(2, n_init=10, random_state=0).fit(mine[:, None])
        assert adjusted_rand_score(kmeans.labels_, mine > cut) == 1


def test_two_means_of_equal_values_has_no_foreground():
    assert not two_means(torch.ones(2, 4, 3), torch.tensor([0, 1])).any()


def test_linear_discriminant_is_scikit_learns():
    maps, truth = figures(6)
    weights, biases = LinearDiscriminant(maps).fit(truth, 5)
    pixels = maps.permute(0, 2, 3, 1).reshape(-1, C)
    scores = (pixels @ weights.T + biases).argmax(1)
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(pixels, truth.flatten())
    agreement = (scores.numpy() == reference.predict(pixels)).mean()
    assert agreement > 0.97


def test_keep_body_fills_holes_and_drops_islands():
    mask = torch.zeros(1, 8, 6, dtype=torch.bool)
    mask[0, 1:7, 1:5] = True
    whole = mask.clone()
    mask[0, 3, 2] = False
    mask[0, 0, 0] = False
    island = mask.clone()
    island[0, 7, 5] = False
    assert torch.equal(keep_body(mask), whole)
    apart = torch.zeros(1, 8, 6, dtype=torch.bool)
    apart[0, 0, 5] = True
    assert torch.equal(keep_body(torch.cat([mask | apart]))[0, 0, 4], torch.tensor(False))
    assert not keep_body(torch.zeros(2, 4, 4, dtype=torch.bool)).any()


def test_keep_body_agrees_with_scipy():
    from scipy.ndimage import binary_fill_holes, label

    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(40, 12, 8, generator=generator) < 0.5
    for mask, found in zip(masks.numpy(), keep_body(masks).numpy(), strict=True):
        parts, count = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        kept = [k for k in range(1, count + 1) if sizes[k] >= 0.15 * mask.sum()]
        assert np.array_equal(found, binary_fill_holes(np.isin(parts, kept)))


def test_foreground_correction_finds_the_weak_parts():
    maps, truth = figures()
    groups = torch.arange(len(maps)) // 4
    first = two_means(activation(maps), groups)
    corrected = correct_foreground(maps, first)
    before, after = (parsing_scores(f.long(), truth)["foreground_iou"] for f in (first, corrected))
    assert before < 0.7 and after > 0.9


def test_space_correction_separates_lookalike_parts():
    maps, truth = figures()
    groups = torch.arange(len(maps)) // 4
    plain = cluster_parts(maps, truth > 0, groups, 4)
    spatial = cluster_parts(maps, truth > 0, groups, 4, space_weight=0.1)
    assert parsing_scores(spatial, truth)["part_miou"] > 0.9
    assert parsing_scores(plain, truth)["part_miou"] < 0.7
    agree = (spatial == truth).float().mean()
    assert agree > 0.95, "parts are numbered from top to bottom, alike in every group"


def test_plain_parts_have_kmeans_cost():
    maps, truth = figures(8)
    labels = cluster_parts(maps, truth > 0, torch.zeros(8, dtype=torch.long), 3, iterations=50)
    pixels = F.normalize(maps, dim=1).permute(0, 2, 3, 1)[truth > 0].double().numpy()
    mine = labels[truth > 0].numpy()
    cost = sum(((pixels[mine == k] - pixels[mine == k].mean(0)) ** 2).sum() for k in (1, 2, 3))
    best = KMeans(3, n_init=20, random_state=0).fit(pixels).inertia_
    assert cost <= best * 1.3
    refit = KMeans(3, init=np.stack([pixels[mine == k].mean(0) for k in (1, 2, 3)]), n_init=1)
    assert adjusted_rand_score(refit.fit(pixels).labels_, mine) > 0.98, "a fixed point of Lloyd's"


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("space", [True, False])
def test_cascade_contract(foreground, space):
    """Labels in range, nothing for group -1, the same for renamed groups and the same seed."""
    maps, _ = figures(12)
    groups = torch.tensor([5, 5, 5, -1, 9, 9, 9, -1, 2, 2, 2, 2])
    labels = cascaded_clustering(maps, groups, 3, foreground, space, seed=1)
    assert labels.shape == (12, H, W) and labels.dtype == torch.uint8 and labels.max() <= 3
    assert not labels[groups == -1].any() and labels[groups >= 0].any()
    again = cascaded_clustering(maps.numpy(), groups.numpy(), 3, foreground, space, seed=1)
    assert torch.equal(labels, again)
    rows = torch.arange(H)[:, None].expand(H, W)
    for group in (5, 9, 2):
        mine = labels[groups == group]
        means = [rows.expand_as(mine)[mine == k].float().mean() for k in (1, 2, 3)]
        assert all(a <= b or torch.isnan(b) for a, b in itertools.pairwise(means))


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("space", [True, False])
@pytest.mark.parametrize(
    "case", ["one image", "constant", "more parts than pixels", "no group", "zeros"]
)
def test_degenerate_input_is_defined(foreground, space, case):
    maps = torch.randn(3, C, 4, 3, generator=torch.Generator().manual_seed(0))
    groups, parts = torch.tensor([0, 1, 1]), 3
    if case == "one image":
        maps, groups = maps[:1], groups[:1]
    elif case == "constant":
        maps = torch.ones_like(maps)
    elif case == "zeros":
        maps = torch.zeros_like(maps)
    elif case == "more parts than pixels":
        parts = 40
    else:
        groups = torch.full((3,), -1)
    labels = cascaded_clustering(maps, groups, parts, foreground, space)
    assert labels.shape == (len(maps), 4, 3) and labels.max() <= parts
    if case in ("constant", "zeros", "no group"):
        assert not labels.any()


@pytest.mark.parametrize(
    ("maps", "groups", "parts"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2), 2),
        (torch.zeros(2, 3, 4, 4), torch.zeros(3), 2),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2), 0),
        (torch.full((2, 3, 4, 4), torch.nan), torch.zeros(2), 2),
    ],
)
def test_mistakes_are_named(maps, groups, parts):
    with pytest.raises(ScwmError):
        cascaded_clustering(maps, groups, parts)


def test_space_correction_numbers_regions_alike_where_one_is_missing():
    """An identity whose torso is never foreground keeps the numbers of its other parts."""
    maps, truth = figures()
    groups = torch.arange(len(maps)) // 4
    foreground = (truth > 0) & ~((truth == 2) & (groups == 0)[:, None, None])
    labels = cluster_parts(maps, foreground, groups, 4, space_weight=0.1)
    legs = labels[(truth == 3) & (groups == 0)[:, None, None]]
    assert (legs == 3).float().mean() > 0.8
