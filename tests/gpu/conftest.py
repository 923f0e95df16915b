"""Tests of what only a GPU reaches, on a GPU or, with `--pretended-gpu`, on a pretended one."""

from pathlib import Path

import pytest
import torch
from small_backbone import smooth_backbone

from scwm.models.backbones import mobilenet_v2

HERE = Path(__file__).parent
BUILD = mobilenet_v2.build


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder if torch finds no GPU."""
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="torch finds no GPU, and --pretended-gpu is not given")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the GPU."""
    monkeypatch.setenv("SCWM_DEVICE", "cuda")


@pytest.fixture(scope="package", autouse=True)
def _small_backbone(pytestconfig):
    """A pretended GPU takes long for each operation, and MobileNetV2 has hundreds, all of torch."""
    with pytest.MonkeyPatch.context() as patch:
        if pytestconfig.getoption("--pretended-gpu"):
            patch.setattr(mobilenet_v2, "build", smooth_backbone)
        yield


@pytest.fixture
def mobilenet(monkeypatch) -> None:
    """The real MobileNetV2, also on a pretended GPU."""
    monkeypatch.setattr(mobilenet_v2, "build", BUILD)
