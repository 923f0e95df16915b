"""The history of a training as a file."""

import pytest

from scwm.training.history import HISTORY, training_speed, write_history


def test_history_leaves_cells_empty_that_do_not_apply(tmp_path):
    write_history([{"epoch": 1, "loss": 0.12345678}], tmp_path / "history.csv")
    header, row = (tmp_path / "history.csv").read_text().splitlines()
    assert header.split(",") == list(HISTORY)
    assert row.split(",") == ["1", "", "", "0.123457", *[""] * (len(HISTORY) - 4)]


def test_speed_is_of_the_steps_alone(tmp_path):
    rows = [{"images": 80, "seconds_training": s, "seconds_features": 9.0} for s in (1.0, 3.0)]
    write_history(rows, tmp_path / "history.csv")
    assert training_speed(tmp_path / "history.csv") == pytest.approx(2 * 80 / 4)
    write_history([], tmp_path / "history.csv")
    assert training_speed(tmp_path / "history.csv") is None
