"""Features of crops as files: for NumPy, pandas, a spreadsheet, or TensorBoard's projector."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scwm.core.errors import ScwmError
from scwm.core.files import check_output, whole_file, write_text
from scwm.core.plugins import optional_module
from scwm.data.images import read_image
from scwm.data.layouts.market1501 import parse_name
from scwm.inference.features import CropFeatures

SPRITE = 8192  # pixels of the projector's picture, at most: a browser takes no larger texture
THUMBNAIL = (32, 64)  # width and height of a crop in it, at most
PROJECTOR = """\
embeddings {{
  tensor_name: {feature}
  tensor_path: {tensors}
  metadata_path: {metadata}
  sprite {{ image_path: {sprite} single_image_dim: {width} single_image_dim: {height} }}
}}
"""


def _beside(path: Path) -> dict[Path, str]:
    """List other files that are written with `path`, each with a text that it holds."""
    if path.suffix == ".npy":
        return {path.with_suffix(".json"): '"names"'}
    if path.suffix == ".tsv":
        return {path.with_name("projector_config.pbtxt"): "embeddings {"}
    return {}


def check_features_file(path: Path) -> None:
    """Check what `save_features` needs for this file, before the features are computed.

    Raises:
        ScwmError: a package is not installed, or another file would be replaced.
    """
    check_output(path, _beside(path))
    if path.suffix == ".parquet":
        optional_module("pyarrow.parquet", "pyarrow", "or write .npz, which needs nothing")


def save_features(found: CropFeatures, path: Path) -> None:
    """Write the features in the form that the path's suffix names, with the names of the crops.

    - .npz holds `names`, `features` and `feature`.
    - .npy holds only the features; a .json file next to it holds the names.
    - .csv and .parquet have a row for each crop.
    - .tsv is for TensorBoard's projector, with labels, small pictures and a config next to it.

    Raises:
        ScwmError: see `check_features_file`; or the operating system refuses a file.
    """
    check_features_file(path)
    write = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".parquet": _parquet, ".tsv": _tsv}
    write[path.suffix](found, path)


def _names(found: CropFeatures) -> list[str]:
    return [str(file) for file in found.files]


def _npz(found: CropFeatures, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=_names(found), features=found.features, feature=found.feature)


def _npy(found: CropFeatures, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, found.features)
    about = {"feature": found.feature, "names": _names(found)}
    write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", path.with_suffix(".json"))


def _csv(found: CropFeatures, path: Path) -> None:
    """Write the shortest digits that give the same float32 again."""
    columns = (f"{found.feature}_{number}" for number in range(found.features.shape[1]))
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *columns])
        writer.writerows(
            [name, *row] for name, row in zip(_names(found), found.features, strict=True)
        )


def _parquet(found: CropFeatures, path: Path) -> None:
    parquet = optional_module("pyarrow.parquet", "pyarrow")
    arrow = optional_module("pyarrow", "pyarrow")
    rows = arrow.FixedSizeListArray.from_arrays(found.features.ravel(), found.features.shape[1])
    table = arrow.table({"name": _names(found), "feature": rows})
    with whole_file(path) as temporary:
        parquet.write_table(table.replace_schema_metadata({"feature": found.feature}), temporary)


def _tsv(found: CropFeatures, path: Path) -> None:
    metadata, sprite = path.with_suffix(".metadata.tsv"), path.with_suffix(".sprite.png")
    picture, (width, height) = _sprite(found.files)
    with whole_file(sprite) as temporary:
        picture.save(temporary, "PNG")
    write_text(_metadata(found.files), metadata)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in found.features)
    named = {"feature": found.feature, "tensors": path.name}
    named |= {"metadata": metadata.name, "sprite": sprite.name}
    quoted = {key: json.dumps(name, ensure_ascii=False) for key, name in named.items()}
    text = PROJECTOR.format(**quoted, width=width, height=height)
    write_text(text, path.with_name("projector_config.pbtxt"))


def _metadata(files: list[Path]) -> str:
    """Name the crops, and their identities and cameras if all names hold them.

    The projector takes a first line for a header if there are several columns.
    """
    names = [re.sub(r"\s", " ", str(file)) for file in files]  # no tab or line break within a cell
    try:
        labels = [parse_name(file) for file in files]
    except ScwmError:
        return "".join(f"{name}\n" for name in names)
    rows = (f"{name}\t{i}\t{camera}\n" for name, (i, camera) in zip(names, labels, strict=True))
    return "name\tidentity\tcamera\n" + "".join(rows)


def _sprite(files: list[Path]) -> tuple[Image.Image, tuple[int, int]]:
    """Join thumbnails of the crops, row by row, to one picture.

    Returns:
        The picture, and width and height of a thumbnail.
    """
    columns = math.ceil(math.sqrt(len(files)))
    width, height = (max(1, min(side, SPRITE // columns)) for side in THUMBNAIL)
    picture = Image.new("RGB", (columns * width, math.ceil(len(files) / columns) * height))
    for number, file in enumerate(files):
        row, column = divmod(number, columns)
        thumbnail = ImageOps.pad(read_image(file), (width, height))
        picture.paste(thumbnail, (column * width, row * height))
    return picture, (width, height)
