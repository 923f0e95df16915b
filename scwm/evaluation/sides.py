"""Query and gallery of one run, and their files features.npz and queries.npz."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.models.embedding import Embedding

STORED = {"global": "global_feature", "parts": "part_features", "visibility": "visibility"}
"""Arrays of features.npz, after ``query_`` and ``gallery_``, and their names in `Embedding`."""


class Side(NamedTuple):
    """Query or gallery: the outputs for its N images, and their identities and cameras, (N,).

    Identity -1 is unknown, and so is a negative camera, which each such image has of its own.
    """

    embedding: Embedding
    ids: np.ndarray
    cameras: np.ndarray


def write_features(sides: Mapping[str, Side], path: Path) -> None:
    """Store the sides for `read_features`, as uncompressed float32; compression saves little."""
    arrays: dict[str, Any] = {}
    for name, (embedding, ids, cameras) in sides.items():
        tensors = {key: getattr(embedding, attribute) for key, attribute in STORED.items()}
        arrays |= {f"{name}_{key}": t.numpy() for key, t in tensors.items() if t is not None}
        arrays |= {f"{name}_ids": ids, f"{name}_cameras": cameras}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_features(path: Path) -> dict[str, Side]:
    """Read the sides `query` and `gallery` of a run's features.npz, without labels and pixels.

    Raises:
        ScwmError: the file does not exist, or `scwm evaluate` did not write it.
    """

    def side(stored: Mapping[str, np.ndarray], name: str) -> Side:
        keys = {attribute: f"{name}_{key}" for key, attribute in STORED.items()}
        tensors = {a: torch.from_numpy(stored[key]) for a, key in keys.items() if key in stored}
        return Side(Embedding(**tensors), stored[f"{name}_ids"], stored[f"{name}_cameras"])

    missing = "The stored features of a run are missing."
    with stored_arrays(path, missing, "Not the features of a run") as stored:
        return {name: side(stored, name) for name in ("query", "gallery")}


def write_query_scores(scores: Mapping[str, np.ndarray], path: Path) -> None:
    """Store the ranking measures of each query, (Q,) each, compressed: a few bytes a query."""
    arrays: dict[str, Any] = {name: values.astype(np.float32) for name, values in scores.items()}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_query_scores(path: Path) -> dict[str, np.ndarray]:
    """Read the ranking measures of each query of a run's queries.npz, (Q,) float64, NaN unscored.

    Raises:
        ScwmError: the file does not exist, or `scwm evaluate` did not write it.
    """
    missing = "The stored scores of a run's queries are missing."
    with stored_arrays(path, missing, "Not the scores of queries") as stored:
        scores = {name: stored[name].astype(np.float64) for name in stored}
        if "mAP" not in scores or len({values.shape for values in scores.values()}) > 1:
            raise ValueError("not one value of each measure for each query")
        return scores


@contextmanager
def stored_arrays(path: Path, missing: str, other: str) -> Iterator[Any]:
    """Open a file of arrays. The messages are for an absent file and for errors in the block."""
    remedy = "evaluate the run again with `scwm evaluate`"
    try:
        with np.load(path) as stored:
            yield stored
    except FileNotFoundError as error:
        raise ScwmError(missing, path, remedy) from error
    except Exception as error:
        raise ScwmError(f"{other}: {error}", path, remedy) from error
