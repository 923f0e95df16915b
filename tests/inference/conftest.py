"""Commands and the library on the toy crops, with a model that was trained on the toy people."""

import pytest

import scwm

RUN = "results/runs/mannequins/scwm/seed0"


@pytest.fixture
def call(trained, scwm, toy_folder, tmp_path):
    """``call("extract RUN {query} --out x")``: a command on the toy crops; returns its status."""
    places = {"query": toy_folder / "query", "gallery": toy_folder / "bounding_box_test"}

    def run(words: str) -> int:
        return scwm(words.format(**places, tmp=tmp_path, run=trained / RUN))

    return run


@pytest.fixture(scope="module")
def model(trained):
    return scwm.load_model(trained / RUN)
