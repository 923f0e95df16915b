"""Tests of what only a GPU reaches, on a GPU or, with `--pretended-gpu`, on a pretended one."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


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
