"""Features, masks and pixel features of many images, in batches, without gradients."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core import distributed
from scwm.core.device import autocast, exporting
from scwm.core.errors import ScwmError
from scwm.core.progress import progress
from scwm.data.augment import Augment
from scwm.models import Network, Output

T = TypeVar("T")
HALF_MAX = torch.finfo(torch.float16).max
COPIED_BYTES = 1 << 28  # images on their way to a GPU at once


@dataclass(frozen=True, eq=False)
class Embedding:
    """Outputs of the network for N images.

    Attributes:
        global_feature: (N,D), L2-normalised.
        part_features: (N,K,C) or None.
        visibility: (N,K) or None.
        part_labels: (N,h,w) uint8, arg-max of the masks, 0 = background, or None.
        pixels: (N,C,h,w) float16 pixel features, or None.
    """

    global_feature: Tensor
    part_features: Tensor | None = None
    visibility: Tensor | None = None
    part_labels: Tensor | None = None
    pixels: Tensor | None = None

    def features(self) -> dict[str, Tensor]:
        """Return test features, each (N,·) and L2-normalised: global and, with parts, two more.

        `parts` concatenates the visible parts; `both` joins global and parts at equal weight.
        """
        named = {"global": self.global_feature}
        if self.part_features is not None and self.visibility is not None:
            seen = (self.visibility > 0).to(self.part_features)[:, :, None]
            named["parts"] = _scaled((seen * self.part_features).flatten(1))
            named["both"] = _scaled(torch.cat([named["global"], named["parts"]], 1))
        return named


def _scaled(features: Tensor) -> Tensor:
    """Scale rows to length 1, in place where nothing else follows the computation."""
    if features.requires_grad or exporting():
        return F.normalize(features, dim=1)
    return F.normalize(features, dim=1, out=features)  # half of the memory


def fits(size: int, free: int) -> bool:
    """Whether images of `size` bytes fit on a GPU with `free` bytes; training keeps half."""
    return size <= free // 2


class ImageBatches:
    """Random access to (N,H,W,3) uint8 images as batches on a device.

    A GPU holds all images if they fit. Otherwise each batch is copied from pinned memory, and
    `along` reads it in advance.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.device = device
        self._array = images
        gpu = device.type == "cuda"
        self._gpu = torch.cuda.current_device() if gpu else None
        resident = gpu and fits(images.nbytes, torch.cuda.mem_get_info()[0])
        self._resident = _copied(images, device) if resident else None
        self.reads_ahead = gpu and not resident

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: np.ndarray | slice) -> Tensor:
        if self._resident is None:
            return self._read(rows).to(self.device, non_blocking=True)
        if isinstance(rows, slice):
            return self._resident[rows]
        return self._resident[torch.from_numpy(rows).to(self.device, non_blocking=True)]

    def along(
        self, items: Iterable[T], rows: Callable[[T], np.ndarray | slice]
    ) -> Iterator[tuple[T, Tensor]]:
        """Yield each item with the images of its rows.

        If images are copied to a GPU, they are read while the caller processes the previous item.
        """
        if not self.reads_ahead:
            for item in items:
                yield item, self[rows(item)]
            return
        with ThreadPoolExecutor(1, initializer=self._use_gpu) as reader:
            coming: deque[tuple[T, Future[Tensor]]] = deque()
            for item in items:
                coming.append((item, reader.submit(self._read, rows(item))))
                if len(coming) > 1:
                    yield _arrived(*coming.popleft(), self.device)
            if coming:
                yield _arrived(*coming.popleft(), self.device)

    def _use_gpu(self) -> None:
        """Pin memory for this process's GPU; a new thread would take the first one."""
        if self._gpu is not None:
            torch.cuda.set_device(self._gpu)

    def _read(self, rows: np.ndarray | slice) -> Tensor:
        images = torch.from_numpy(np.array(self._array[rows]))
        return images.pin_memory() if self.device.type == "cuda" else images


def _copied(images: np.ndarray, device: torch.device) -> Tensor:
    """Copy images to a device in parts, so that the host never holds all of them."""
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(COPIED_BYTES // max(images[:1].nbytes, 1), 1)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        copy[part] = torch.from_numpy(np.array(images[part]))
    return copy


def _arrived(item: T, read: "Future[Tensor]", device: torch.device) -> tuple[T, Tensor]:
    return item, read.result().to(device, non_blocking=True)


@torch.inference_mode()
def embed(
    network: Network,
    images: ImageBatches,
    batch: int = 128,
    precision: str = "float32",
    pixels: bool = False,
    title: str = "features",
) -> Embedding:
    """Run `network` in evaluation mode over all images.

    Each of several processes computes a share of the batches; only the first returns the whole.

    Args:
        images: N images.
        batch: number of images per batch.
        precision: float32 | tf32 | bfloat16.
        pixels: keep the pixel features too (N·C·h·w half floats).

    Raises:
        ScwmError: there are no images.
    """
    if not len(images):
        raise ScwmError("There are no images.", title, "check the splits of the data set")
    network.eval()
    normalise = Augment().normalise

    starts = range(0, len(images), batch)
    shares = distributed.shares(len(starts))
    own = starts[shares[distributed.rank()]]

    def outputs() -> Iterator[Output]:
        rows = (slice(start, start + batch) for start in progress(own, title))
        for _, group in images.along(rows, lambda rows: rows):
            with autocast(images.device, precision):
                yield network(normalise(group))

    if not own:
        return Embedding(torch.empty(0))
    found = collect(outputs(), pixels)
    if distributed.count() == 1:
        return found
    sizes = [len(range(len(images))[s.start * batch : s.stop * batch]) for s in shares]
    fields = (None if f is None else distributed.to_main(f, sizes) for f in vars(found).values())
    return Embedding(*fields)  # type: ignore[arg-type]


def collect(outputs: Iterable[Output], pixels: bool = False) -> Embedding:
    """Join the outputs of batches into one embedding, optionally with pixel features."""
    kept = [_keep(output, pixels) for output in outputs]
    return Embedding(
        torch.cat([e.global_feature for e in kept]),
        *(_join([getattr(e, name) for e in kept]) for name in _OPTIONAL),
    )


def _keep(output: Output, pixels: bool) -> Embedding:
    if output.masks is None or output.pixels is None:
        return Embedding(output.global_feature)
    labels = output.masks.argmax(1).to(torch.uint8)
    maps = output.pixels.clamp(-HALF_MAX, HALF_MAX).half() if pixels else None
    return Embedding(output.global_feature, output.part_features, output.visibility, labels, maps)


_OPTIONAL = ("part_features", "visibility", "part_labels", "pixels")


def _join(tensors: list[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present) if present else None
