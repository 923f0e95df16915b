"""Images of every source, decoded alike for stores, crops, masks and pages."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scwm.core.errors import ScwmError
from scwm.data.files import unreadable

Source = str | Path | Image.Image | np.ndarray
BACKGROUND = "white"
SMALLEST = 8  # pixels; a smaller image shows no person


def read_image(source: Source) -> Image.Image:
    """Decode an image as people see it: upright, 8-bit RGB, transparent pixels on white.

    The orientation of EXIF is applied. Of 16-bit grey values the upper eight bits are kept, as
    Pillow does with 16-bit colours.

    Args:
        source: a file, a PIL image, or an array of pixels.

    Raises:
        ScwmError: the image cannot be decoded, has more than 16 bits a channel, or has fewer than
            8 pixels a side.
    """
    image = decode(source)
    # Pillow gives 16 bits of PPM, and in older versions of PNG, as 32. A copy has no format.
    known = source.format if isinstance(source, Image.Image) else image.format
    wide = image.mode == "I" and known in ("PNG", "PPM")
    if image.mode.startswith("I;16") or wide:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ScwmError(
            f"more than 16 bits a channel: mode {image.mode}", _name(source), "convert it to 8 bits"
        )
    width, height = image.size
    if min(width, height) < SMALLEST:
        raise ScwmError(
            f"an image of {width}x{height} pixels", _name(source), "remove it or replace it"
        )
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image.convert("RGB")


def decode(source: Source) -> Image.Image:
    """Decode an image in its own mode and turn it upright.

    Raises:
        ScwmError: it cannot be decoded.
    """
    try:
        if isinstance(source, str | Path):
            with Image.open(source) as file:
                ImageOps.exif_transpose(file, in_place=True)  # a copy would forget its format
                return file
        image = Image.fromarray(source) if isinstance(source, np.ndarray) else source
        return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders of broken files raise many kinds of errors
        if isinstance(error, OSError) and error.errno:
            raise unreadable(error, Path(_name(source))) from error
        raise ScwmError(
            f"cannot decode the image{_size(source)}: {error}",
            _name(source),
            "supply the image again",
        ) from error


def _name(source: Source) -> str:
    """Name the source of an image in a message."""
    return str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}"


def _size(source: Source) -> str:
    return f" ({Path(source).stat().st_size} bytes)" if isinstance(source, str | Path) else ""
