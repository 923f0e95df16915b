"""Checkpoints: what is on disk after each kind of failure, and which run they belong to."""

import pytest

from scwm import checkpoint
from scwm.checkpoint import Checkpoints, state_key


def test_checkpoints_keep_the_previous_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load() is None
    for epoch in range(3):
        checkpoints.save({"history": [epoch]})
        assert checkpoints.load() == {"history": [epoch]}
    checkpoints.newest.unlink()  # killed between the two renames
    assert checkpoints.load() == {"history": [1]}
    checkpoints.previous.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="Damaged checkpoint"):
        assert checkpoints.load() is None
    checkpoints.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_failed_save_loses_nothing(tmp_path, monkeypatch, damaged):
    """A full disk while saving, also after the newest checkpoint was found damaged."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"history": [1]})
    checkpoints.save({"history": [2]})
    if damaged:
        checkpoints.newest.write_bytes(b"damaged")
        with pytest.warns(UserWarning, match="Damaged checkpoint"):
            assert checkpoints.load() == {"history": [1]}

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save({"history": [3]})
    assert checkpoints.load() == {"history": [1 if damaged else 2]}
    assert not list(tmp_path.glob("*.part"))


def test_changed_run_never_resumes(tiny_config):
    base = (tiny_config(), "data", "weights")
    others = [
        (tiny_config(training={"epochs": 3}), *base[1:]),
        (tiny_config(seed=1), *base[1:]),
        (base[0], "other data", base[2]),
        (*base[:2], "other weights"),
    ]
    assert state_key(*base) == state_key(*base)
    assert len({state_key(*run) for run in [base, *others]}) == 5
