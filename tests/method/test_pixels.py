"""Pixel features read a few at a time: the same results as from all of them at once."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_parsing import figures

from scwm.method.parsing import activation, cascaded_clustering, cluster_parts
from scwm.method.parsing import pixels as pixels_module
from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.method.parsing.foreground_corrections import log_odds
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground
from scwm.method.parsing.pixels import Pixels


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setitem(pixels_module.VALUES_AT_ONCE, "cpu", 7000)


def channels_last(maps: torch.Tensor) -> torch.Tensor:
    return maps.half().contiguous(memory_format=torch.channels_last)


def plain_lloyd(maps, foreground, groups, labels, weight, steps):
    """Labels 0..K-1 of the foreground after some of Lloyd's steps on all pixels in float64."""
    parts = int(labels.max()) + 1
    x = F.normalize(maps.double(), dim=1).permute(0, 2, 3, 1).numpy()
    inside, owner = foreground.numpy(), groups.numpy()[:, None, None] + 0 * labels
    used = inside.any(2)
    top, bottom = used.argmax(1), used.shape[1] - used[:, ::-1].argmax(1)
    height = np.arange(used.shape[1]) + 0.5 - top[:, None]
    row = np.broadcast_to((height / (bottom - top)[:, None])[:, :, None], inside.shape)
    for _ in range(steps):
        cost = np.full((*inside.shape, parts), np.inf)
        for k in range(parts):
            members = inside & (labels == k)
            mean, spread = row[members].mean(), max(row[members].var(), 0.05**2)
            place = (row - mean) ** 2 / spread + np.log(spread)
            for group in range(int(owner.max()) + 1):
                mine = owner == group
                if (members & mine).any():
                    centroid = x[members & mine].mean(0)
                    distance = ((x[mine] - centroid) ** 2).sum(-1)
                    cost[mine, k] = distance + weight * place[mine]
        labels = cost.argmin(-1)
    return np.where(inside, labels, -1)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_steps_are_lloyds(small_chunks, steps):
    """Groups in any order; float16; noise enough for labels to move at every step."""
    maps, truth = figures(18)
    generator = torch.Generator().manual_seed(1)
    maps = channels_last(maps + 0.8 * torch.randn(maps.shape, generator=generator))
    groups = torch.randint(5, (18,), generator=generator)
    inside = truth > 0
    rows = torch.arange(truth.shape[1])[None, :, None].double()
    top = torch.where(inside, rows, 99).amin((1, 2))[:, None, None]
    bottom = torch.where(inside, rows, -1).amax((1, 2))[:, None, None]
    start = ((rows - top + 0.5) / (bottom - top + 1) * 4).long().clamp(0, 3).expand_as(truth)
    expected = plain_lloyd(maps, inside, groups, start.numpy(), 0.1, steps)
    found = cluster_parts(maps, inside, groups, 4, 0.1, iterations=steps).numpy().astype(int)
    means = [np.nonzero(expected == k)[1].mean() for k in range(4)]
    expected = np.where(expected >= 0, np.argsort(np.argsort(means))[expected] + 1, 0)
    assert (found != expected).mean() < 1e-3
    assert (found[truth > 0] != start.numpy()[truth > 0] + 1).mean() > 0.02


@pytest.mark.parametrize("space", [True, False])
def test_chunks_and_memory_layout_do_not_matter(monkeypatch, space):
    maps, _ = figures(30)
    groups = torch.randint(-1, 6, (30,), generator=torch.Generator().manual_seed(0))
    maps = maps.half()
    whole = cascaded_clustering(maps.float(), groups, 4, space_correction=space)
    monkeypatch.setitem(pixels_module.VALUES_AT_ONCE, "cpu", 7000)
    assert torch.equal(cascaded_clustering(maps, groups, 4, space_correction=space), whole)
    last = channels_last(maps)
    assert torch.equal(cascaded_clustering(last, groups, 4, space_correction=space), whole)
    shares = Pixels(last).features.untyped_storage().data_ptr()
    assert shares == last.untyped_storage().data_ptr(), "channels last: not copied"


def test_memory_mapped_features(tmp_path):
    maps, _ = figures(12)
    groups = torch.arange(12) // 4
    np.save(tmp_path / "cells.npy", maps.half().permute(0, 2, 3, 1).numpy())
    cells = np.load(tmp_path / "cells.npy", mmap_mode="c")
    found = cascaded_clustering(np.moveaxis(cells, 3, 1), groups, 4)
    assert torch.equal(found, cascaded_clustering(maps.half(), groups, 4))


def test_results_over_all_pixels(small_chunks):
    maps, truth = figures(20)
    pixels, unit = Pixels(channels_last(maps)), F.normalize(maps.half().float(), dim=1)
    rows = unit.permute(0, 2, 3, 1).flatten(0, 2)
    weights = torch.randn(maps.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        pixels.products(weights), torch.einsum("nchw,c->nhw", unit, weights), rtol=1e-4, atol=1e-5
    )
    members = F.one_hot(truth.flatten(), 5).float()
    sums = pixels.class_sums(truth.flatten(1), 5)
    torch.testing.assert_close(sums, members.T @ rows, rtol=1e-4, atol=1e-3)
    expected = torch.cov(rows.T, correction=0)
    torch.testing.assert_close(pixels.scatter(rows.mean(0)), expected, rtol=1e-4, atol=1e-6)
    some = torch.tensor([3, 700, 701, 2000])
    torch.testing.assert_close(pixels.take(some), rows[some], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pixels.pick(some).products(weights).flatten(), rows[some] @ weights)


def test_discriminant_of_half_floats_is_that_of_floats():
    maps, truth = figures(8)
    found = LinearDiscriminant(channels_last(maps)).fit(truth, 5)
    expected = LinearDiscriminant(maps.half().float()).fit(truth, 5)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_foreground_fitted_to_some_of_the_pixels_is_nearly_the_same(monkeypatch):
    maps, truth = figures(60)
    first = (activation(maps) > 0.6) & (truth > 0)
    whole = correct_foreground(maps, first)
    monkeypatch.setattr(log_odds, "FIT_PIXELS", 2500)
    some = correct_foreground(maps, first)
    assert (some == whole).float().mean() > 0.98
    assert not torch.equal(some, first)
    assert torch.equal(some, correct_foreground(maps, first)), "always the same ones"
