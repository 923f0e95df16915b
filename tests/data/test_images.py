"""One picture stored in many ways gives the same pixels, wherever an image is read."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.data.images import read_image
from scwm.data.layouts.folder import load
from scwm.data.store import build_store
from scwm.inference.api import read_crops
from scwm.inference.pages import _crop

HEIGHT, WIDTH = 40, 20
# What a camera stores of an upright picture under each orientation of EXIF.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def save(pixels, path, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_picture_stored_turned_is_read_upright(picture, tmp_path, orientation, kind):
    path = tmp_path / f"a.{kind}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture)))
    turned.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    assert np.array_equal(read_image(path), picture)
    with Image.open(path) as opened:
        before = opened.size
        assert np.array_equal(read_image(opened), picture)
        assert kind == "tiff" or opened.size == before, "the caller's image is left as it was"


def test_grey_picture_of_16_bits_is_that_of_8_bits(picture, tmp_path):
    grey = picture[..., 0]
    expected = np.repeat(grey[..., None], 3, 2)
    for kind in ("png", "tiff", "ppm"):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
        assert np.array_equal(read_image(path), expected), kind
    assert np.array_equal(read_image(grey.astype(np.uint16) * 257), expected)
    for kind in (np.int32, np.float32):  # of an unknown range
        Image.fromarray(grey.astype(kind)).save(tmp_path / "b.tiff")
        with pytest.raises(ScwmError, match=r"(?s)more than 16 bits.*b\.tiff.*8 bits"):
            read_image(tmp_path / "b.tiff")


def test_colours_that_transparency_hides_do_not_count(picture, tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[10:30, 5:15], alpha[5:10] = 255, 100
    other = np.where(alpha[..., None] > 0, picture, 255 - picture)
    expected = picture * (alpha / 255)[..., None] + 255 * (1 - alpha / 255)[..., None]
    for colours in (picture, other):
        Image.fromarray(np.dstack([colours, alpha])).save(tmp_path / "a.png")
        found = np.asarray(read_image(tmp_path / "a.png")).astype(float)
        assert np.abs(found - expected).max() <= 1, "a rounding"
    grey = Image.fromarray(np.dstack([picture[..., 0], alpha]))
    assert grey.mode == "LA" and read_image(grey).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (WIDTH, HEIGHT), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read_image(tmp_path / "p.png").getpixel((0, 0)) == (255, 255, 255)


def test_images_are_read_alike_everywhere(picture, tmp_path):
    """The store, the commands on crops and the thumbnails of pages."""
    root = tmp_path / "crops"
    root.mkdir()
    deep = picture[..., 0].astype(np.uint16) * 257
    clear = np.dstack([picture, np.full((HEIGHT, WIDTH), 128, np.uint8)])
    save(STORED[6](picture), root / "0001_c1.png", 6)
    save(deep, root / "0002_c1.png")
    save(clear, root / "0003_c1.png")
    files = sorted(root.iterdir())
    store = build_store(load(root, "toy"), tmp_path / "store", (64, 32)).split("train")
    assert np.array_equal(store.images, read_crops(files, (64, 32)))
    for file, row in zip(files, store.images, strict=True):
        expected = read_image(file).resize((32, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(row, expected)
        source = _crop(file, "a")["source"].partition(",")[2]
        small = np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))).astype(float)
        large = np.asarray(read_image(file).resize((64, 128), Image.Resampling.BICUBIC))
        assert small.shape == large.shape and np.abs(small - large).mean() < 25


def test_broken_and_absent_images_are_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ScwmError, match=r"(?s)cannot decode the image \(8 bytes\).*a\.jpg"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(ScwmError, match=r"(?s)No such file.*b\.jpg"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(ScwmError, match=r"(?s)an image of 20x7 pixels.*a ndarray"):
        read_image(np.zeros((7, 20, 3), np.uint8))
    with pytest.raises(ScwmError, match=r"cannot decode the image: "):
        read_image(np.zeros((9, 9, 7), np.uint8))


def test_an_opened_picture_is_read_like_its_file(tmp_path):
    """Also where Pillow gives its 16 bits as 32."""
    values = np.linspace(0, 65535, 256).astype(">u2").reshape(16, 16)
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + values.tobytes())
    from_file = read_image(tmp_path / "a.pgm")
    with Image.open(tmp_path / "a.pgm") as opened:
        assert np.array_equal(from_file, read_image(opened))
