"""Augmentation of whole batches on the device, with part labels that follow the images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AREA = (0.02, 0.4)  # share of the image that is erased
ASPECT = (0.3, 3.33)  # height / width of the erased rectangle
_TRIES = 10  # candidate rectangles per image; the first that fits is erased


@dataclass(frozen=True)
class Draws:
    """Random decisions for B images; all tensors are on one device.

    Attributes:
        flip: (B,) bool, mirrored left to right.
        shift: (B, 2) int64, row and column of the crop's corner in the unpadded image, -pad…pad.
        erased: (B, 4) int64, top, left, height, width of the erased rectangle in the crop;
            height and width 0 if nothing is erased.
    """

    flip: Tensor
    shift: Tensor
    erased: Tensor

    def __getitem__(self, rows: slice) -> "Draws":
        """Select the draws of these images."""
        return Draws(self.flip[rows], self.shift[rows], self.erased[rows])

    def to(self, device: torch.device) -> "Draws":
        """Copy the draws to another device."""
        moved = (t.to(device, non_blocking=True) for t in (self.flip, self.shift, self.erased))
        return Draws(*moved)


class Augment:
    """Random flip, zero padding with random crop, and random erasing of a whole batch.

    Flip and crop follow Cluster Contrast's recipe. Random erasing follows Zhong et al., AAAI 2020
    (arXiv 1708.04896), filled with the mean, i.e. 0 after normalisation. Cluster Contrast's code
    fills with the mean of the plain pixel values, after normalisation.

    Args:
        flip: probability of a mirrored image.
        pad: zeros added on each side before the crop, in pixels.
        erase: probability of an erased rectangle.

    Example:
        >>> augment = Augment()
        >>> images = torch.zeros(2, 128, 64, 3, dtype=torch.uint8)
        >>> batch, _ = augment(images, None, torch.Generator().manual_seed(0))
        >>> batch.shape
        torch.Size([2, 3, 128, 64])
    """

    def __init__(
        self,
        flip: float = 0.5,
        pad: int = 10,
        erase: float = 0.5,
    ) -> None:
        self.flip, self.pad, self.erase = flip, pad, erase
        self._scales: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(
        self, images: Tensor, part_labels: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Augment a batch.

        Args:
            images: (B,H,W,3) uint8.
            part_labels: (B,h,w) uint8 on any coarser grid, or None.
            generator: draws use its device.

        Returns:
            (B,3,H,W) float32, normalised, stored channels last; and the moved part labels.
        """
        draws = self.draw(len(images), images.shape[1], images.shape[2], generator)
        return self.apply(images, part_labels, draws)

    def draw(self, batch: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Draw flip, crop and rectangle for `batch` images of `height` x `width` pixels."""

        def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
            draws = torch.rand(*shape, generator=generator, device=generator.device)
            return low + (high - low) * draws

        flip = uniform(batch) < self.flip
        shift = (uniform(batch, 2) * (2 * self.pad + 1)).long() - self.pad

        area = uniform(batch, _TRIES, low=AREA[0], high=AREA[1]) * height * width
        aspect = uniform(batch, _TRIES, low=ASPECT[0], high=ASPECT[1])
        tall = (area * aspect).sqrt().round().long()
        wide = (area / aspect).sqrt().round().long()
        fits = (tall < height) & (wide < width)
        first = fits.int().argmax(1, keepdim=True)
        tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
        erase = (uniform(batch) < self.erase) & fits.any(1)
        tall, wide = tall * erase, wide * erase
        top = (uniform(batch) * (height - tall + 1)).long()
        left = (uniform(batch) * (width - wide + 1)).long()
        return Draws(flip, shift, torch.stack([top, left, tall, wide], 1))

    def apply(
        self, images: Tensor, part_labels: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Tensor | None]:
        """Apply `draws`; shapes as in `__call__`.

        A cell takes the label of the source cell that holds its centre after flip and crop. Cells
        outside the image and cells with an erased centre take 0.
        """
        size = height, width = images.shape[1], images.shape[2]
        padded = F.pad(images, (0, 0, self.pad, self.pad, self.pad, self.pad))
        # Slices copy whole rows. Indices and masks need no loop over the images, but would take
        # a CPU several times as long. The draws are read on the host: no device is waited for.
        sides = padded, padded.flip(2)
        corners = zip(draws.flip.tolist(), (draws.shift + self.pad).tolist(), strict=True)
        crops = [
            sides[flip][row, top : top + height, left : left + width]
            for row, (flip, (top, left)) in enumerate(corners)
        ]
        batch = self.normalise(torch.stack(crops))
        for image, (top, left, tall, wide) in zip(batch, draws.erased.tolist(), strict=True):
            if tall:
                image[:, top : top + tall, left : left + wide] = 0
        if part_labels is not None:
            part_labels = _move(part_labels, size, draws.to(part_labels.device))
        return batch, part_labels

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise (B,H,W,3) uint8 to (B,3,H,W) float32, stored channels last."""
        device = images.device
        if device not in self._scales:  # kept, so that a batch copies nothing from the host
            mean = torch.tensor(IMAGENET_MEAN, device=device)
            std = torch.tensor(IMAGENET_STD, device=device)
            self._scales[device] = 1 / (255 * std), -mean / std
        # Rows of W·3 numbers: a broadcast over only the 3 channels would be slow on a CPU.
        scale, offset = (t.repeat(images.shape[2]) for t in self._scales[device])
        rows = torch.addcmul(offset, images.flatten(2).float(), scale)
        pixels: Tensor = rows.unflatten(2, (-1, 3))
        return pixels.permute(0, 3, 1, 2)


def _centres(cells: int, pixels: int, device: torch.device) -> Tensor:
    """Return the centres of `cells` cells over `pixels` pixels, in units of 1 / (2·cells) pixel.

    In these units they are whole numbers, so rounding never moves a centre across a border.
    """
    return (2 * torch.arange(cells, device=device) + 1) * pixels


def _erased(shape: tuple[int, int], size: tuple[int, int], draws: Draws) -> Tensor:
    """Mark the cells (B,h,w) of a grid of `shape` over `size` pixels whose centre is erased."""
    hidden = []
    for axis in (0, 1):
        centre = _centres(shape[axis], size[axis], draws.erased.device)
        start, length = (2 * shape[axis] * draws.erased[:, axis::2, None]).unbind(1)
        hidden.append((centre >= start) & (centre < start + length))
    return hidden[0][:, :, None] & hidden[1][:, None, :]


def _move(part_labels: Tensor, size: tuple[int, int], draws: Draws) -> Tensor:
    """Flip, crop and erase a (B,h,w) grid of labels that covers images of `size` pixels."""
    shape = part_labels.shape[1], part_labels.shape[2]
    sources, inside = [], []
    for axis in (0, 1):
        centre = _centres(shape[axis], size[axis], part_labels.device)
        moved = centre + 2 * shape[axis] * draws.shift[:, axis, None]
        source = torch.div(moved, 2 * size[axis], rounding_mode="floor")
        inside.append((source >= 0) & (source < shape[axis]))
        sources.append(source.clamp(0, shape[axis] - 1))
    rows, columns = sources
    columns = torch.where(draws.flip[:, None], shape[1] - 1 - columns, columns)
    image = torch.arange(len(part_labels), device=part_labels.device)[:, None, None]
    labels = part_labels[image, rows[:, :, None], columns[:, None, :]]
    shown = inside[0][:, :, None] & inside[1][:, None, :] & ~_erased(shape, size, draws)
    return torch.where(shown, labels, 0)
