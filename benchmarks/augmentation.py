"""Batches from the decoded store, augmented as a whole; the reference decodes and augments image by
image.

The reference is what a data loader's worker does: it decodes a JPEG (here from memory), resizes it
where the size differs, mirrors, pads, crops, normalises and erases it with Pillow and torchvision,
and stacks the batch. Both get the same draws; ours makes them within its time. One thread each.
"""

import io
import tempfile
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF

from benchmarks.harness import Stage
from scwm.core.allocator import keep_freed_memory
from scwm.data.augment import IMAGENET_MEAN, IMAGENET_STD, Augment, Draws
from scwm.models.embedding import ImageBatches

BATCH = 64
SOURCE = (128, 64)  # of Market-1501's files
KEPT = 4  # batches whose pixels are compared
QUALITY = 95
PAD = Augment().pad


class Data(NamedTuple):
    """Files as bytes, the same decoded, and what chance decides for each batch."""

    files: list[bytes]
    store: np.ndarray
    size: tuple[int, int]
    draws: list[Draws]


def inputs_at(height: int, width: int, images: int) -> Data:
    """JPEG files of blurred noise, as large as those of photographs, and their store."""
    keep_freed_memory()
    chance = np.random.default_rng(0)
    files = []
    for _ in range(images):
        coarse = chance.integers(0, 256, (SOURCE[0] // 8, SOURCE[1] // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(SOURCE[::-1], Image.Resampling.BICUBIC)
        noisy = np.asarray(picture) + chance.normal(0, 6, (*SOURCE, 1))
        written = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=QUALITY)
        files.append(written.getvalue())
    # As in scwm.data.store: decoded once, read through a memory map.
    shape = (images, height, width, 3)
    store = np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)  # noqa: SIM115
    for row, file in enumerate(files):
        store[row] = decode(file, (height, width))
    generator, augment = torch.Generator().manual_seed(0), Augment()
    draws = [augment.draw(BATCH, height, width, generator) for _ in range(images // BATCH)]
    return Data(files, store, (height, width), draws)


def small(images: int) -> Data:
    """At the size of the files."""
    return inputs_at(128, 64, images)


def large(images: int) -> Data:
    """At twice the size, as the field trains on Market-1501."""
    return inputs_at(256, 128, images)


def ours(data: Data) -> np.ndarray:
    """Pixels of the first KEPT batches."""
    batches, augment = ImageBatches(data.store, torch.device("cpu")), Augment()
    generator, kept = torch.Generator().manual_seed(0), []
    for start in range(0, len(data.store), BATCH):
        batch, _ = augment(batches[np.arange(start, start + BATCH)], None, generator)
        if len(kept) < KEPT:
            kept.append(batch)
    return torch.cat(kept).numpy()


def reference(data: Data) -> np.ndarray:
    """The same, image by image."""
    kept = []
    for number, draws in enumerate(data.draws):
        files = data.files[number * BATCH : (number + 1) * BATCH]
        rows = zip(draws.flip.tolist(), draws.shift.tolist(), draws.erased.tolist(), strict=True)
        batch = torch.stack(
            [one_image(file, data.size, *row) for file, row in zip(files, rows, strict=True)]
        )
        if len(kept) < KEPT:
            kept.append(batch)
    return torch.cat(kept).numpy()


def decode(file: bytes, size: tuple[int, int]) -> Image.Image:
    """A JPEG as an image of `size`, height and width."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
    return image


def one_image(
    file: bytes, size: tuple[int, int], flip: bool, shift: list[int], erased: list[int]
) -> Tensor:
    """Decoded and augmented, (3,H,W)."""
    image = decode(file, size)
    if flip:
        image = TF.hflip(image)
    image = TF.crop(TF.pad(image, [PAD]), shift[0] + PAD, shift[1] + PAD, *size)
    pixels = TF.normalize(TF.to_tensor(image), IMAGENET_MEAN, IMAGENET_STD, inplace=True)
    return TF.erase(pixels, *erased, torch.zeros(()), inplace=True)


def agreement(ours: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The largest difference of a normalised pixel value."""
    return {"pixel_error": float(np.abs(ours - reference).max())}


STAGES = tuple(
    Stage(
        name=f"augmentation_{name}",
        unit="images",
        sizes=(1280, 2560, 5120),
        reference_sizes=(1280, 2560, 5120),
        tiny=128,
        inputs=make,
        ours=ours,
        reference=reference,
        agreement=agreement,
        tolerance={"pixel_error": 1e-5},
        threads=1,
        repeats=3,
    )
    for name, make in (("128x64", small), ("256x128", large))
)
