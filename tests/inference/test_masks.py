"""`scwm parse --masks`: a mask for each crop, by the library's parts."""

import numpy as np
from PIL import Image

import scwm


def test_an_unreadable_image_has_no_mask_and_the_others_do(call, toy_folder, tmp_path, caplog):
    crops = tmp_path / "crops"
    crops.mkdir()
    whole = sorted((toy_folder / "query").iterdir())[:3]
    for file in whole:
        (crops / file.name).write_bytes(file.read_bytes())
    (crops / "0.jpg").write_bytes(b"no picture")
    assert call("parse {run} {tmp}/crops --masks {tmp}/masks") == 0
    made = sorted(path.stem for path in (tmp_path / "masks").iterdir())
    assert made == [file.stem for file in whole]
    assert "0.jpg" in caplog.text
    for file in whole:
        (crops / file.name).unlink()
    assert call("parse {run} {tmp}/crops --masks {tmp}/none") != 0


def test_masks_are_the_librarys(call, model, toy_folder, tmp_path):
    assert call("parse {run} {query} {gallery} --masks {tmp}/masks") == 0
    for folder in ("query", "bounding_box_test"):
        files = sorted((toy_folder / folder).iterdir())
        for file, cells in zip(files, scwm.parse(model, files), strict=True):
            mask = Image.open(tmp_path / "masks" / folder / f"{file.stem}.png")
            assert mask.size == Image.open(file).size and mask.mode == "P"
            tall, wide = (a // b for a, b in zip(mask.size[::-1], cells.shape, strict=True))
            assert np.array_equal(np.asarray(mask), cells.repeat(tall, 0).repeat(wide, 1))


def test_mask_of_a_picture_stored_turned_fits_the_upright_one(call, model, toy_folder, tmp_path):
    (tmp_path / "crops").mkdir()
    upright = Image.open(next((toy_folder / "query").iterdir()))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    upright.save(tmp_path / "crops/a.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "crops/b.png", exif=exif)
    assert call("parse {run} {tmp}/crops --masks {tmp}/masks") == 0
    masks = [np.asarray(Image.open(tmp_path / f"masks/{name}.png")) for name in "ab"]
    assert masks[0].shape == upright.size[::-1] and np.array_equal(*masks)


def test_crop_with_a_name_as_long_as_a_disk_holds_has_a_mask(call, toy_folder, tmp_path):
    (tmp_path / "crops").mkdir()
    names = [letter * length for letter, length in (("a", 240), ("b", 251), ("ä", 125), ("c", 201))]
    for name in names:
        content = next((toy_folder / "query").iterdir()).read_bytes()
        (tmp_path / f"crops/{name}.jpg").write_bytes(content)
    assert call("parse {run} {tmp}/crops --masks {tmp}/masks") == 0
    assert {path.stem for path in (tmp_path / "masks").iterdir()} == set(names)


def test_a_link_to_a_crop_has_a_mask_of_its_own(call, toy_folder, tmp_path):
    (tmp_path / "crops").mkdir()
    crop = tmp_path / "crops/a.jpg"
    crop.write_bytes(next((toy_folder / "query").iterdir()).read_bytes())
    (tmp_path / "crops/link.jpg").symlink_to(crop)
    assert call("parse {run} {tmp}/crops --masks {tmp}/masks") == 0
    one, other = (tmp_path / f"masks/{name}.png" for name in ("a", "link"))
    assert one.read_bytes() == other.read_bytes()


def test_masks_of_one_name_are_refused(call, toy_folder, tmp_path, capsys):
    (tmp_path / "crops").mkdir()
    for suffix in ("jpg", "png"):
        (tmp_path / f"crops/a.{suffix}").write_bytes(b"")
    assert call("parse {run} {tmp}/crops --masks {tmp}/masks") == 1
    told = capsys.readouterr().err
    assert "a.jpg" in told and "a.png" in told and "rename" in told
    assert not (tmp_path / "masks").exists()


def test_a_mask_never_replaces_a_crop(call, toy_folder, tmp_path, capsys):
    """As of `--masks crops` with the files in `crops`, which a shell lists."""
    (tmp_path / "crops").mkdir()
    crop = tmp_path / "crops/a.png"
    Image.open(next((toy_folder / "query").iterdir())).save(crop)
    before = crop.read_bytes()
    assert call("parse {run} {tmp}/crops/a.png --masks {tmp}/crops") == 1
    assert "would lie beside" in capsys.readouterr().err
    assert call("parse {run} {tmp}/crops/a.png --output {tmp}/crops/a.png") == 1
    assert crop.read_bytes() == before


def test_a_mask_replaces_only_a_mask(call, toy_folder, tmp_path, capsys):
    """As of `--masks DIR` with the pictures of DIR that a shell chose; another is kept."""
    (tmp_path / "mine").mkdir()
    crop, other = tmp_path / "crop.jpg", tmp_path / "mine/crop.png"
    for path in (crop, other):
        Image.open(next((toy_folder / "query").iterdir())).save(path)
    before = other.read_bytes()
    assert call("parse {run} {tmp}/crop.jpg --masks {tmp}/mine") == 1
    assert "would replace another file" in capsys.readouterr().err and other.read_bytes() == before
    other.unlink()
    for _ in range(2):
        assert call("parse {run} {tmp}/crop.jpg --masks {tmp}/mine") == 0
