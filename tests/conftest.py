"""Fixtures that several test files share: a tiny data set, its store, and configs that fit it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pretended_cuda import install
from torch import Tensor
from trained_runs import KEY

from scwm.cli.main import main
from scwm.core.config import merge, resolve_config
from scwm.core.settings import Config
from scwm.data import ImageStore, build_store
from scwm.data.augment import Augment
from scwm.data.layouts.market1501 import load
from scwm.data.store import StoreSplit
from scwm.evaluation.evaluate import evaluate
from scwm.models.backbone import build_backbone
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import train

Scwm = Callable[..., int]
PARTS = ("head", "torso", "legs")
SIZE = (64, 32)
TINY: dict[str, Any] = {
    "model": {
        "backbone": "mobilenet_v2",
        "weights": "none",
        "image_size": list(SIZE),
        "parts": 3,
        "part_channels": 32,
    },
    "pseudo_labels": {"k1": 6, "k2": 2, "min_samples": 2},
    "training": {
        "epochs": 2,
        "iterations": 2,
        "identities": 4,
        "instances": 2,
        "decay_every": 1,
        "virtual_batch": 0,
        "precision": "float32",
    },
    "augment": {"pad": 4},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pretended-gpu", action="store_true", help="a GPU pretended on the CPU")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["SCWM_DEVICE"] = "cpu"  # only tests/gpu uses a GPU
    if config.getoption("--pretended-gpu"):
        install()


@pytest.fixture(autouse=True)
def _no_switch_stays_on():
    """A test leaves no switch of torch to the next, also if it fails."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The tests neither read nor write the user's cache, and nobody has accepted terms there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCWM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors gain nothing from more, and sums keep one order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    """Twelve people in clothes of their own colours before grey noise, in Market-1501's layout:
    eight to train (two cameras, six images each), four to test, with masks."""
    root = tmp_path_factory.mktemp("toy") / "raw"
    rng = np.random.default_rng(0)
    clothes = rng.integers(0, 256, (12, 3, 3))
    for person in range(12):
        train = person < 8
        for number in range(6):
            folder = "bounding_box_test"
            if train or number < 2:
                folder = "bounding_box_train" if train else "query"
            name = f"{person + 1:04d}_c{number % 2 + 1}s1_{number:06d}_01"
            image, mask = _person(rng, clothes[person], dimmed=number % 2 == 1)
            for path, pixels in (
                (root / folder / f"{name}.jpg", image),
                (root / "masks" / folder / f"{name}.png", mask),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="session")
def toy_store(toy_folder, tmp_path_factory) -> ImageStore:
    """The decoded images of `toy_folder`."""
    folder = tmp_path_factory.mktemp("toy") / "store"
    return build_store(load(toy_folder, "toy", PARTS), folder, SIZE)


@pytest.fixture(scope="session")
def toy_weights(toy_store) -> dict[str, Tensor]:
    """Random MobileNetV2 weights whose batch normalisation has seen the toy images; without that
    a random network maps all images to one feature."""
    torch.manual_seed(0)
    backbone = build_backbone("mobilenet_v2")
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        backbone(Augment().normalise(torch.from_numpy(np.array(toy_store.split("train").images))))
    return backbone.state_dict()


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    """What a run of a second on `toy_store` changes of the defaults."""
    return TINY


@pytest.fixture(scope="session")
def tiny_config(tiny_settings) -> Callable[..., Config]:
    """``tiny_config(method, section={key: value})``: the config of such a run."""

    def make(method: str = "scwm", seed: int = 0, **sections: dict[str, Any]) -> Config:
        return resolve_config(method, "toy", seed, merge(tiny_settings, sections))

    return make


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """The folder that the commands are called in."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def scwm(home, monkeypatch) -> Scwm:
    """``scwm("config --seed 0", ...)``: call a command in `home`; returns its exit status."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("SCWM_FOLDER", raising=False)
    return lambda words, *more: main([*words.split(), *map(str, more)])


@pytest.fixture(scope="session")
def write_config(tiny_settings) -> Callable[..., None]:
    """``write_config(run, method, "key.path=value", ...)``: the config command, tiny settings."""

    def write(run: Path | str, method: str, *assignments: str, dataset: str = "mannequins") -> None:
        names = ["--method", method, "--dataset", dataset, "--out", f"{run}/config.yaml"]
        settings = ["--overrides", json.dumps(tiny_settings), "--set", *assignments]
        assert main(["config", *names, *settings]) == 0

    return write


@pytest.fixture(scope="session")
def trained(home, toy_folder, toy_weights, write_config) -> Path:
    """A home where every command up to `evaluate` has run, for two methods."""
    torch.save(toy_weights, home / "given.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for words, more in (
            ("data get mannequins --out data/raw/toy --source", [toy_folder]),
            ("data store mannequins --root data/raw/toy --size 64x32 --out data/stores/toy", []),
            ("weights mobilenet_v2 given.pt --out data/weights/toy.pt", []),
        ):
            assert main([*words.split(), *map(str, more)]) == 0
        for method in ("scwm", "random_features"):
            run = f"results/runs/mannequins/{method}/seed0"
            write_config(run, method)
            images = ["--store", "data/stores/toy"]
            weights = ["--weights", "data/weights/toy.pt"] if method == "scwm" else []
            assert main(["train", run, *images, *weights]) == 0
            assert main(["evaluate", run, *images]) == 0
    return home


@pytest.fixture(scope="session")
def other_store(trained, toy_folder) -> Path:
    """A store of another data set: the toy images, query and gallery exchanged, and no image of
    the last person in its gallery."""
    root = trained / "data/raw/other"
    exchanged = {"query": "bounding_box_test", "bounding_box_test": "query"}
    for name in ("bounding_box_train", *exchanged):
        shutil.copytree(toy_folder / name, root / exchanged.get(name, name))
    for path in (root / "bounding_box_test").glob("0012_*"):
        path.unlink()
    words = ["data", "store", "market1501", "--root", str(root), "--size", "64x32"]
    folder = trained / "data/stores/other"
    assert main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """``told()``: what a failed command printed: one error, no traceback, nothing on stdout."""

    def read() -> str:
        out, err = capsys.readouterr()
        assert "Traceback" not in err and not out
        assert err.count("scwm: error:") == 1
        return err

    return read


def _person(
    rng: np.random.Generator, clothes: np.ndarray, dimmed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """An image (H,W,3) and its mask (H,W) with the parts from head (1) to legs (3)."""
    height, width = SIZE
    image = rng.integers(90, 140, (height, width, 1)).repeat(3, 2)
    mask = np.zeros(SIZE, np.uint8)
    top, left = rng.integers(2, 8), rng.integers(4, 10)
    for part, (start, stop, inset) in enumerate([(0, 10, 5), (10, 32, 0), (32, 54, 2)], 1):
        body = slice(top + start, top + stop), slice(left + inset, left + 18 - inset)
        mask[body], image[body] = part, clothes[part - 1]
    image = image * (0.7 if dimmed else 1.0) + rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def start(toy_store, toy_weights):
    """``start(config, folder)``: train the run; ``split`` replaces the training images."""

    def run(config: Config, folder: Path, split: StoreSplit | None = None) -> Path:
        folder.mkdir(exist_ok=True)
        checkpoints = Checkpoints(folder / "state", KEY)
        train(config, split or toy_store.split("train"), toy_weights, folder, checkpoints)
        return folder

    return run


@pytest.fixture(scope="session")
def finished(start, tiny_config, toy_store, tmp_path_factory):
    """``finished(method)``: the folder of the method's run, trained and scored once."""
    folders: dict[str, Path] = {}

    def run(method: str) -> Path:
        if method not in folders:
            folders[method] = start(tiny_config(method), tmp_path_factory.mktemp(method))
            evaluate(folders[method], toy_store)
        return folders[method]

    return run
