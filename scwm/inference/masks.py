"""Part labels of the user's crops as images, one for each crop."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.core.progress import progress
from scwm.data.images import read_image
from scwm.inference.api import load_model, parsed, stacked
from scwm.inference.features import find_crops
from scwm.reporting.figures.galleries import part_colours

logger = logging.getLogger(__name__)


def write_masks(run: Path, paths: Sequence[Path], out: Path) -> Path:
    """Write `out`/<name>.png of each crop's size: value = part, 0 = background.

    An image that cannot be read is passed over with a warning. Files of different folders keep
    these folders below `out`. A palette colours the parts.

    Args:
        run: folder with model.pt of a model with parsed parts.
        paths: image files and folders of images.
        out: folder of the masks.

    Returns:
        `out`.

    Raises:
        ScwmError: the model or a file is missing, no image can be read, two share a name,
            or a mask would replace an image.
    """
    files = find_crops(paths)
    named = [Path(os.path.abspath(file)) for file in files]  # a link has a mask of its own
    root = os.path.commonpath([file.parent for file in named])
    targets = [out / file.relative_to(root).with_suffix(".png") for file in named]
    double, count = Counter(targets).most_common(1)[0]
    if count > 1:
        both = [file for file, target in zip(files, targets, strict=True) if target == double]
        raise ScwmError(
            f"{both[0]} and {both[1]} would get the same mask.", double, "rename one of them"
        )
    if replaced := set(map(os.path.realpath, files)) & set(map(os.path.realpath, targets)):
        raise ScwmError("A mask would replace a crop.", min(replaced), "give another folder")
    if other := [one for one in targets if one.exists() and not _is_mask(one)]:
        raise ScwmError("A mask would replace another file.", other[0], "give another folder")
    model = load_model(run)
    unreadable: dict[int, ScwmError] = {}
    found = stacked(parsed(model, files, unreadable), len(files))
    for error in unreadable.values():
        logger.warning("image passed over: %s", error)
    if not len(found):
        raise ScwmError(f"None of {len(files)} images could be read.", files[0], "see above")
    colours = np.vstack([np.ones(3), part_colours(model.config.model.parts)])
    read = [row for row in range(len(files)) if row not in unreadable]
    for row, cells in progress(zip(read, found, strict=True), "masks", len(read)):
        file, target = files[row], targets[row]
        size = read_image(file).size
        mask = Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).convert("P")
        mask.putpalette((255 * colours).astype(np.uint8).tobytes())
        with whole_file(target) as temporary:
            mask.save(temporary, "PNG")
    return out


def _is_mask(path: Path) -> bool:
    """Whether a file is a picture with a palette, as masks are."""
    with suppress(OSError), Image.open(path) as picture:
        return picture.format == "PNG" and picture.mode == "P"
    return False
