"""Terms that a user accepts once before the suite downloads a data set."""

from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import cache_folder, write_text
from scwm.data.entries import Entry, lookup


def terms_accepted(entry: Entry) -> bool:
    """Whether the user has accepted the data set's terms as they are now, or it has none."""
    record = _acceptance(entry)
    return not entry.terms or (
        record.is_file() and record.read_text(encoding="utf-8") == entry.terms
    )


def accept_terms(name: str) -> Path:
    """Record in the cache that the user accepts the terms of a data set.

    Returns:
        The record, which holds the terms.

    Raises:
        ScwmError: the data set has no terms to accept.
    """
    entry = lookup(name)
    if not entry.terms:
        raise ScwmError(
            f"{name} has no terms to accept.",
            f"data set {name}",
            f"see how to get it: `scwm data card {name}`",
        )
    return write_text(entry.terms, _acceptance(entry))


def _acceptance(entry: Entry) -> Path:
    return cache_folder() / "accepted" / f"{entry.base or entry.name}.txt"
