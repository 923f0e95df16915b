"""Augmentation against plain per-image slicing with the same draws."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as TF

from scwm.data.augment import IMAGENET_MEAN, IMAGENET_STD, Augment

SIZE = (64, 32)


def batch(count=24, cells=(16, 8), seed=0):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, *SIZE, 3), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(1, 7, (count, *cells), dtype=np.uint8))
    return images, labels, torch.Generator().manual_seed(seed)


def plain_image(augment, image, draws, row):
    """torchvision, one image: flip, pad, crop, normalise, erase."""
    picture = image.permute(2, 0, 1)
    if draws.flip[row]:
        picture = TF.hflip(picture)
    top, left = (draws.shift[row] + augment.pad).tolist()
    picture = TF.crop(TF.pad(picture, augment.pad), top, left, *SIZE)
    picture = TF.normalize(picture / 255, IMAGENET_MEAN, IMAGENET_STD)
    return TF.erase(picture, *draws.erased[row].tolist(), torch.zeros(()))


def plain_cells(cells, draws, row):
    """One image, one cell after the other, by the position of the cell's centre."""
    cells = cells.numpy()
    height, width = cells.shape
    if draws.flip[row]:
        cells = cells[:, ::-1]
    moved = np.zeros_like(cells)
    top, left, tall, wide = draws.erased[row].tolist()
    down, right = draws.shift[row].tolist()
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * SIZE[0] / height, (j + 0.5) * SIZE[1] / width
            if top <= y < top + tall and left <= x < left + wide:
                continue
            i2, j2 = (y + down) * height // SIZE[0], (x + right) * width // SIZE[1]
            if 0 <= i2 < height and 0 <= j2 < width:
                moved[i, j] = cells[int(i2), int(j2)]
    return moved


@pytest.mark.parametrize("cells", [(16, 8), (8, 8), (64, 32)])
def test_equals_plain_slicing(cells):
    augment = Augment(erase=0.7)
    images, labels, generator = batch(cells=cells)
    draws = augment.draw(len(images), *SIZE, generator)
    got, got_labels = augment.apply(images, labels, draws)
    assert got.shape == (24, 3, *SIZE) and got.dtype == torch.float32
    assert got_labels.dtype == torch.uint8
    for row, image in enumerate(images):
        torch.testing.assert_close(
            got[row], plain_image(augment, image, draws, row), atol=1e-5, rtol=0
        )
        np.testing.assert_array_equal(got_labels[row], plain_cells(labels[row], draws, row))


def test_labels_move_with_the_image(monkeypatch):
    """A picture of its own labels stays one, wherever it shows the source image."""
    monkeypatch.setattr("scwm.data.augment.IMAGENET_MEAN", (0.0, 0.0, 0.0))
    monkeypatch.setattr("scwm.data.augment.IMAGENET_STD", (1.0, 1.0, 1.0))
    augment = Augment(erase=0.7)
    _, labels, generator = batch(cells=SIZE)
    images = labels[..., None].expand(*labels.shape, 3).contiguous()
    pictures, moved = augment(images, labels, generator)
    np.testing.assert_array_equal((pictures[:, 0] * 255).round().numpy(), moved.numpy())


def test_draws_keep_within_their_limits():
    augment = Augment()
    draws = augment.draw(20_000, *SIZE, torch.Generator().manual_seed(1))
    top, left, tall, wide = draws.erased.double().unbind(1)
    erased = tall > 0
    assert abs(erased.double().mean() - 0.5) < 0.02
    assert abs(draws.flip.double().mean() - 0.5) < 0.02
    assert draws.shift.min() == -10 and draws.shift.max() == 10
    assert (top + tall <= SIZE[0]).all() and (left + wide <= SIZE[1]).all()
    share = (tall * wide)[erased] / (SIZE[0] * SIZE[1])
    assert share.min() > 0.01 and share.max() < 0.42  # sides are rounded to whole pixels
    # On a portrait image a wide rectangle may not fit, never the other way round.
    assert (wide < SIZE[1]).all() and (tall < SIZE[0]).all()


def test_nothing_drawn_is_normalisation_only():
    augment = Augment(flip=0, pad=0, erase=0)
    images, labels, generator = batch()
    got, moved = augment(images, labels, generator)
    torch.testing.assert_close(got, augment.normalise(images))
    assert torch.equal(moved, labels)
    assert augment(images, None, generator)[1] is None


def test_same_generator_same_batch():
    images, labels, _ = batch()
    first, second = (Augment()(images, labels, torch.Generator().manual_seed(7)) for _ in "ab")
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
