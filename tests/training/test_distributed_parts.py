"""What several processes exchange: outputs and their gradients, features, state."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import CPU, in_processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scwm.core import distributed
from scwm.core.errors import Interrupted, ScwmError
from scwm.models.embedding import ImageBatches, embed
from scwm.training.trainer import build_network

ROOT = Path(__file__).parents[2]


def test_a_loss_of_gathered_rows_has_the_gradient_of_one_process():
    """Averaged over the processes, as DistributedDataParallel does."""
    images = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = nn.Linear(3, 2, dtype=torch.float64)

    def loss(features: Tensor) -> Tensor:
        return (features @ features.T).exp().mean() + features.mean(0).square().sum()

    loss(layer(images)).backward()
    expected = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()

    def check() -> None:
        copies = distributed.gather(torch.arange(2) + 2 * distributed.rank())
        assert torch.equal(copies, torch.arange(8))
        parallel = DistributedDataParallel(layer)
        own = images[2 * distributed.rank() :][:2]
        loss(distributed.gather(parallel(own))).backward()
        for parameter, gradient in zip(layer.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)

    assert in_processes(4, check) == [0] * 4


def test_a_gradient_in_any_memory_layout_is_gathered():
    """Losses of permuted features and of channels-last maps give such gradients."""
    features = torch.randn(8, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(8, 3, 5, 2, generator=torch.Generator().manual_seed(1))
    layouts = weights.contiguous(memory_format=torch.channels_last), weights.mT.contiguous().mT

    def check() -> None:
        rows = slice(4 * distributed.rank(), 4 * distributed.rank() + 4)
        for weighted in layouts:
            own = features[rows].clone().requires_grad_()
            distributed.gather(own).backward(weighted)
            torch.testing.assert_close(own.grad, 2 * weights[rows])

    assert in_processes(2, check) == [0, 0]


@pytest.mark.parametrize("error", [Interrupted, ScwmError])
def test_an_error_of_our_own_keeps_its_kind(monkeypatch, error):
    """Whatever its text says; here the name of gloo stands in a path."""
    for name in ("WORLD_SIZE", *distributed.OF_TORCHRUN):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    with pytest.raises(error) as caught, distributed.together(CPU):
        raise error("Stopped.", "/data/igloo/checkpoint.pt")
    assert caught.type is error and "Stopped" in str(caught.value)
    lost = pytest.raises(ScwmError, match=r"was lost: \[gloo\] Connection reset")
    with lost, distributed.together(CPU):
        raise RuntimeError("[gloo] Connection reset\nmore")


def test_features_are_shared_out_and_put_together(tiny_config, toy_store, toy_weights):
    """To the last bit: each batch is computed by one process as it would be by one alone."""
    network = build_network(tiny_config("scwm"), toy_weights)
    images = ImageBatches(np.array(toy_store.split("train").images[:23]), CPU)
    expected = {batch: embed(network, images, batch, pixels=True) for batch in (4, 50)}

    def check() -> None:
        for batch, whole in expected.items():
            found = embed(network, images, batch, pixels=True)
            if distributed.is_main():
                for name, value in vars(whole).items():
                    assert torch.equal(getattr(found, name), value), name
                    assert getattr(found, name).stride() == value.stride(), name

    assert in_processes(3, check) == [0, 0, 0]


def test_state_of_the_first_process_is_that_of_all():
    def check() -> None:
        state = {
            "weights": torch.arange(3.0) * (distributed.rank() + 1),
            "history": [{"ari": None}],
        }
        taken = distributed.from_main(lambda: state, CPU)
        assert torch.equal(taken["weights"], torch.arange(3.0))
        assert taken["history"] == [{"ari": None}]
        assert distributed.highest(distributed.rank() * 5) == 10

    assert in_processes(3, check) == [0, 0, 0]


def test_one_process_exchanges_nothing():
    values: Tensor = torch.ones(2)
    assert distributed.gather(values) is values
    assert distributed.highest(3) == 3 and distributed.from_main(lambda: values, CPU) is values
    assert distributed.shares(5) == [slice(0, 5)] and distributed.is_main()


def test_processes_end_with_torchrun(tmp_path):
    """Killed without a chance to stop them, as by a scheduler; its GPUs then count as free."""
    script = tmp_path / "wait.py"
    script.write_text(
        "import os, time, torch\n"
        "from scwm.core import distributed\n"
        "with distributed.together(torch.device('cpu')):\n"
        f"    open(rf'{tmp_path}/{{os.getpid()}}.pid', 'w').close()\n"
        "    time.sleep(300)\n"
    )
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    torchrun = subprocess.Popen(
        [sys.executable, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        _wait(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        torchrun.kill()
        torchrun.wait()
    _wait(lambda: not any(_runs(one.stem) for one in tmp_path.glob("*.pid")))


def _runs(number):
    """Whether a process neither ended nor waits for its parent to hear of its end."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _wait(done, seconds=90):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
