"""Cascaded clustering: each step against a plain computation, and made-up people."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score

from scwm.core.errors import ScwmError
from scwm.evaluation import parsing_scores
from scwm.method.parsing import (
    activation,
    cascaded_clustering,
    cluster_parts,
    keep_body,
    two_means,
)
from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground

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


def test_linear_discriminant_is_scikit_learns_on_a_shrunk_covariance():
    maps, truth = figures(6)
    weights, biases = LinearDiscriminant(maps).fit(truth, 5)
    pixels = maps.permute(0, 2, 3, 1).reshape(-1, C).double().numpy()
    labels = truth.flatten().numpy()
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(pixels, labels)
    within = reference.covariance_ + 0.1 * np.diag(reference.covariance_).mean() * np.eye(C)
    expected = np.linalg.solve(within, reference.means_.T).T
    offsets = np.log(reference.priors_) - (expected * reference.means_).sum(1) / 2
    logits = [pixels @ w.T + b for w, b in ((expected, offsets), (weights.numpy(), biases.numpy()))]
    expected, found = (x - x.mean(1, keepdims=True) for x in logits)  # up to a shift of all classes
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_keep_body_agrees_with_scipy():
    from scipy.ndimage import binary_fill_holes, label

    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(40, 12, 8, generator=generator) < 0.5
    for mask, found in zip(masks.numpy(), keep_body(masks).numpy(), strict=True):
        parts, count = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        kept = [k for k in range(1, count + 1) if sizes[k] >= 0.15 * mask.sum()]
        assert np.array_equal(found, binary_fill_holes(np.isin(parts, kept)))
    assert not keep_body(torch.zeros(2, 4, 4, dtype=torch.bool)).any()


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


def checked_cascade(maps, groups, parts, foreground, space):
    """Labels of the cascade, after checks of what is promised of them whatever the input."""
    labels = cascaded_clustering(maps, groups, parts, foreground, space, seed=1)
    assert labels.shape == (len(maps), *maps.shape[2:]) and labels.dtype == torch.uint8
    assert not labels[groups < 0].any()
    again = cascaded_clustering(maps.numpy(), groups.numpy(), parts, foreground, space, seed=1)
    assert torch.equal(labels, again)
    rows = torch.arange(maps.shape[2])[:, None].expand_as(labels)
    # The space correction numbers a region alike in all groups, so the order is one for all.
    order = torch.where(groups < 0, -1, 0) if space else groups
    for group in order[order >= 0].unique():
        mine = labels[order == group]
        used = mine[mine > 0].unique().tolist()
        assert used == [*range(1, len(used) + 1)] and len(used) <= parts
        means = [float(rows[order == group][mine == k].float().mean()) for k in used]
        assert means == sorted(means)
    return labels


def degenerate(case: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Maps, groups and number of parts."""
    maps, _ = figures(12)
    groups, parts = torch.arange(12) // 4, 3
    if case == "one image":
        maps, groups = maps[:1], groups[:1]
    elif case == "no image":
        maps, groups = maps[:0], groups[:0]
    elif case == "no group":
        groups = torch.full_like(groups, -1)
    elif case == "identities of one image":
        groups = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    elif case in ("constant", "zeros"):
        maps = torch.full_like(maps, float(case == "constant"))
    elif case in ("black images", "images of one colour"):
        maps[[0, 5]] = float(case == "images of one colour")
    elif case == "a black identity":
        maps[groups == 1] = 0
    elif case == "identical images":
        maps = maps[:1].repeat(12, 1, 1, 1)
    elif case in ("one part", "more parts than cells"):
        parts = 1 if case == "one part" else H * W + 1
    elif case == "fewer foreground cells than parts":
        bright = maps[::4, :, 5, 3]
        maps = torch.zeros_like(maps)
        maps[::4, :, 5, 3] = bright
    elif case == "fewer looks than parts":
        maps = torch.zeros(12, C, H, W)
        maps[:, 0, 2:8, 2:6] = maps[:, 1, 8:14, 2:6] = 1
        maps[:, 2] = 0.1
    elif case in ("one cell", "one row"):
        maps = maps[:, :, 7:8, 4:5] if case == "one cell" else maps[:, :, 7:8]
    else:
        assert case == "people"
        groups = torch.tensor([5, 5, 5, -1, 9, 9, 9, -1, 2, 2, 2, 2])
    return maps, groups, parts


CASES = (
    *("people", "one image", "no image", "no group", "identities of one image", "constant"),
    *("zeros", "images of one colour", "black images", "a black identity", "identical images"),
    *("one part", "more parts than cells", "fewer foreground cells than parts"),
    *("fewer looks than parts", "one cell", "one row"),
)


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("space", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_cascade_is_defined(foreground, space, case):
    maps, groups, parts = degenerate(case)
    labels = checked_cascade(maps, groups, parts, foreground, space)
    if case in ("no image", "no group", "constant", "zeros", "one cell"):
        assert not labels.any()
        return
    assert labels.any()
    owner = groups.unique(return_inverse=True)[1]
    first = two_means(activation(maps), owner)
    if case == "one part":
        decided = correct_foreground(maps, first) if foreground else first
        assert torch.equal(labels > 0, decided)
    elif case == "identical images":
        assert torch.equal(labels, labels[::4].repeat_interleave(4, 0)), "alike within a group"
    elif "black" in case and not foreground:
        assert not labels[maps.abs().sum((1, 2, 3)) == 0].any()
    elif case == "fewer foreground cells than parts" and not foreground:
        assert torch.equal(labels, maps.any(1).to(labels))
    elif case == "fewer looks than parts" and not space:
        assert (labels <= 2).all(), "a cluster that no look needs stays empty"
        for look in (np.s_[:, 2:8, 2:6], np.s_[:, 8:14, 2:6]):
            assert all(len(labels[groups == k][look].unique()) == 1 for k in range(3))


def test_foreground_correction_empties_an_image_of_background():
    """Against its own largest activation all of it looks active; against other images none."""
    maps, truth = figures()
    cells = maps.permute(0, 2, 3, 1)[truth == 0]
    maps[3] = cells[: H * W].T.view(C, H, W)
    first = two_means(activation(maps), torch.arange(len(maps)) // 4)
    assert first[3].float().mean() > 0.9 and not correct_foreground(maps, first)[3].any()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_foreground_correction_of_another_foreground(kind):
    """Alone, with a mask from elsewhere: boxes for bodies."""
    maps, truth = figures()
    body = truth.numpy() > 0
    box = body.any(1)[:, None] & body.any(2)[:, :, None] & (np.arange(W) % 4 > 0)
    given = torch.from_numpy(box)
    found = correct_foreground(torch.from_numpy(maps.numpy().astype(kind)), given)
    assert found.shape == given.shape and found.dtype == torch.bool
    before, after = (parsing_scores(f.long(), truth)["foreground_iou"] for f in (given, found))
    assert before < 0.75 and after > 0.9
    assert np.array_equal(given.numpy(), box), "the given one is not written to"
    for same in (torch.zeros_like(given), torch.ones_like(given)):
        assert torch.equal(correct_foreground(maps, same), same)
    assert torch.equal(correct_foreground(torch.zeros_like(maps), given), given)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_parts_of_another_foreground(weight):
    """Alone, with masks from elsewhere, of which some and those of a whole group are empty."""
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.normal(size=(10, C, H, W)))
    mask = rng.random((10, H, W)) < 0.3
    mask[[0, 3, 7, 8, 9]] = False
    groups = torch.tensor([0, 0, 0, 1, 1, 3, 3, 2, 2, 2])
    labels = cluster_parts(maps, torch.from_numpy(mask), groups, 4, weight)
    assert np.array_equal(labels.numpy() > 0, mask) and labels.max() <= 4
    assert not cluster_parts(maps, torch.zeros(10, H, W, dtype=torch.bool), groups, 4, weight).any()


def test_empty_cluster_attracts_nothing():
    """All cells but one look the same; that one is a part of its own only where it was drawn."""
    maps = torch.zeros(1, C, H, W)
    maps[:, 0] = 1
    maps[0, :2, 5, 3] = torch.tensor([0.0, 1])
    inside, group = torch.ones(1, H, W, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
    assert {int(cluster_parts(maps, inside, group, 2, seed=s).max()) for s in range(4)} == {1}


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
