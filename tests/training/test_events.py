"""TensorBoard's event files of a training, read back by TensorBoard itself."""

import csv
import sys
from pathlib import Path

import pytest

from scwm.training.events import EventFiles

RUN, STORE = "results/watched", "data/stores/toy"


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> epoch -> value, as TensorBoard shows them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_event_files_hold_the_history(trained, scwm, write_config):
    """Every cell of history.csv and no other, also of a run that is trained twice."""
    pytest.importorskip("tensorboard")
    write_config(RUN, "scwm")
    words = f"train {RUN} --store {STORE} --weights data/weights/toy.pt"
    for _ in range(2):
        assert scwm(f"{words} --tensorboard") == 0
    with (trained / RUN / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected: dict[str, dict[int, object]] = {}
    for row in rows:
        for name, cell in row.items():
            if cell:
                close = pytest.approx(float(cell), rel=1e-4)
                expected.setdefault(f"history/{name}", {})[int(row["epoch"])] = close
    assert len(rows) == 2 and scalars(trained / RUN / "tensorboard") == expected


def test_a_resumed_training_shows_each_epoch_once(tmp_path):
    """The first process dies in the third epoch, after it has written two and a part."""
    pytest.importorskip("tensorboard")
    old = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}, {"epoch": 3, "loss": 9.0}]
    first = EventFiles(tmp_path)
    for count in (1, 2, 3):
        first.write(old[:count])
    second = EventFiles(tmp_path)
    second.write([*old[:2], {"epoch": 3, "loss": 1.0, "ari": None}])
    shown = scalars(tmp_path)
    assert shown["history/loss"] == {1: 3.0, 2: 2.0, 3: 1.0} and "history/ari" not in shown


def test_tensorboard_is_named_where_it_is_missing(trained, scwm, write_config, monkeypatch, told):
    """Before the first epoch."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write_config(f"{RUN}_not", "scwm")
    words = f"train {RUN}_not --store {STORE} --weights data/weights/toy.pt --tensorboard"
    assert scwm(words) == 1 and "pip install tensorboard" in told()
    assert not (trained / f"{RUN}_not/history.csv").exists()
