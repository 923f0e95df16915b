"""Batches of P identities x K instances each (Hermans et al., arXiv 1703.07737)."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from scwm.core.errors import ScwmError


def identity_batches(
    labels: np.ndarray,
    identities: int,
    instances: int,
    iterations: int,
    generator: np.random.Generator,
    cameras: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Draw batches of `identities` x `instances` rows, grouped by identity.

    No identity appears again before all others have appeared, and none appears twice in a batch.
    The rows of an identity with at least `instances` rows are distinct; otherwise each row appears
    equally often, up to one. With fewer identities than requested, a batch holds all of them.

    Args:
        labels: (N,) integer pseudo labels; rows with a label below 0 are never drawn.
        identities, instances: P and K.
        iterations: the number of batches.
        generator: the only source of randomness.
        cameras: (N,) integers, negative = unknown. If given, the first row of an identity is
            random, and the others come from other cameras, as in the code of Cluster Contrast,
            SpCL, PPLR and ISE. Rows repeat if there are too few. If the identity has only one
            camera, its other rows are used.

    Yields:
        (P·K,) int64 row indices.

    Raises:
        ScwmError: no row has a label.
    """
    members = _members(np.asarray(labels))
    identities = min(identities, len(members))

    waiting = generator.permutation(len(members))
    for _ in range(iterations):
        chosen, waiting = waiting[:identities], waiting[identities:]
        if missing := identities - len(chosen):
            again = generator.permutation(len(members))
            fresh = again[~np.isin(again, chosen)][:missing]
            waiting = again[~np.isin(again, fresh)]
            chosen = np.concatenate([chosen, fresh])
        yield np.concatenate([_draw(members[one], instances, generator, cameras) for one in chosen])


def filled_batches(
    labels: np.ndarray,
    identities: int,
    instances: int,
    iterations: int,
    generator: np.random.Generator,
    cameras: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Draw batches of P·K rows, in which an identity of one row appears once (SpCL).

    All identities follow each other in a random order, each with K rows or its only one. Batches
    are cut from this sequence, and the rest at its end is dropped. A sequence shorter than a batch
    is a batch. Arguments and errors are those of `identity_batches`.

    Yields:
        (P·K,) int64 row indices.
    """
    members = _members(np.asarray(labels))
    counts = [instances if len(rows) > 1 else 1 for rows in members]
    size = min(identities * instances, sum(counts))
    whole = sum(counts) // size * size

    def batches() -> Iterator[np.ndarray]:
        while True:
            order = generator.permutation(len(members))
            drawn = [_draw(members[one], counts[one], generator, cameras) for one in order]
            yield from np.concatenate(drawn)[:whole].reshape(-1, size)

    return islice(batches(), iterations)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each identity.

    Raises:
        ScwmError: no row has a label.
    """
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise ScwmError(
            "no cluster to draw batches from: every image is unclustered",
            "pseudo labels",
            "raise pseudo_labels.eps or lower pseudo_labels.min_samples",
        )
    rows = rows[np.argsort(labels[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1)


def _draw(
    rows: np.ndarray, count: int, generator: np.random.Generator, cameras: np.ndarray | None
) -> np.ndarray:
    if cameras is not None and len(rows) > 1 and count > 1:
        first = generator.choice(rows)
        rows = rows[rows != first]
        elsewhere = rows[(cameras[rows] != cameras[first]) | (cameras[rows] < 0)]
        others = elsewhere if len(elsewhere) else rows
        return np.append(first, _draw(others, count - 1, generator, None))
    rounds = -(-count // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(rounds)])[:count]
