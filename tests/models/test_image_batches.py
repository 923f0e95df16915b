"""Batches of images for a device: where they live, and reading ahead of their use."""

import numpy as np
import pytest
import torch

from scwm.models import embedding
from scwm.models.embedding import ImageBatches, fits

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 2, 3), dtype=np.uint8)


def test_images_live_on_a_gpu_that_keeps_half_its_memory():
    assert fits(40 * 2**30, 80 * 2**30) and not fits(40 * 2**30 + 1, 80 * 2**30)


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_come_with_their_items_in_order(ahead):
    batches = ImageBatches(IMAGES, torch.device("cpu"))
    batches.reads_ahead = ahead
    rows = [np.array([3, 1, 19]), np.array([0, 0]), slice(5, 9)]
    seen = [(item, images) for item, images in batches.along(range(3), lambda item: rows[item])]
    assert [item for item, _ in seen] == [0, 1, 2]
    for (_, images), expected in zip(seen, rows, strict=True):
        np.testing.assert_array_equal(images.numpy(), IMAGES[expected])
    assert list(batches.along([], lambda item: rows[item])) == []


@pytest.mark.parametrize("ahead", [False, True])
def test_one_batch_is_read_ahead_and_no_more(ahead):
    batches, asked = ImageBatches(IMAGES, torch.device("cpu")), []
    batches.reads_ahead = ahead
    for item, _ in batches.along(range(5), lambda item: asked.append(item) or np.array([item])):
        assert asked == list(range(min(item + 1 + ahead, 5)))


def test_error_of_reading_reaches_the_user():
    batches = ImageBatches(IMAGES, torch.device("cpu"))
    batches.reads_ahead = True
    with pytest.raises(IndexError):
        list(batches.along([0], lambda _: np.array([20])))


def test_images_are_copied_to_a_gpu_in_parts(monkeypatch):
    monkeypatch.setattr(embedding, "COPIED_BYTES", 3 * IMAGES[0].nbytes + 1)
    copied, array = [], np.array
    monkeypatch.setattr(np, "array", lambda images: copied.append(len(images)) or array(images))
    np.testing.assert_array_equal(embedding._copied(IMAGES, torch.device("cpu")).numpy(), IMAGES)
    assert copied == [3] * 6 + [2]
