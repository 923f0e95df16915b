"""The library's calls: the same numbers as the workflow's, from files and from arrays."""

import numpy as np
import pytest
import torch
from PIL import Image

import scwm
from scwm.core.config import plain
from scwm.core.errors import ScwmError
from scwm.models.embedding import ImageBatches, embed
from scwm.training.trainer import build_network

FILES = "query/*.jpg"


@pytest.fixture(scope="module")
def models(tiny_config, toy_weights, tmp_path_factory):
    """A model with parts and one without, as a run leaves them."""
    found = {}
    for method in ("scwm", "global_only"):
        config = tiny_config(method)
        network = build_network(config, toy_weights)
        path = tmp_path_factory.mktemp(method) / "model.pt"
        torch.save({"config": plain(config), "model": network.state_dict()}, path)
        found[method] = scwm.load_model(path), network
    return found


def test_extract_is_what_the_workflow_embeds(models, toy_folder, toy_store):
    model, network = models["scwm"]
    files = sorted(toy_folder.glob(FILES))
    expected = embed(network, ImageBatches(toy_store.split("query").images, torch.device("cpu")))
    for name, feature in expected.features().items():
        np.testing.assert_allclose(scwm.extract(model, files, name), feature, atol=1e-5)
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    assert np.array_equal(scwm.extract(model, files), scwm.extract(model, arrays))
    assert np.array_equal(scwm.parse(model, files), expected.part_labels)


def test_rank_orders_by_similarity(models, toy_folder):
    model, _ = models["global_only"]
    files = sorted(toy_folder.glob(FILES))
    order, similarity = scwm.rank(model, files[:3], files)
    assert list(order[:, 0]) == [0, 1, 2], "an image is most like itself"
    assert (np.diff(similarity) <= 0).all() and np.allclose(similarity[:, 0], 1, atol=1e-5)
    assert (np.sort(order) == np.arange(len(files))).all()


def test_mistakes_are_named(models, tmp_path):
    model, _ = models["global_only"]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for call in (
        lambda: scwm.parse(model, np.zeros((1, 64, 32, 3), np.uint8)),
        lambda: scwm.extract(model, np.zeros((1, 64, 32, 3), np.uint8), "parts"),
        lambda: scwm.extract(model, [broken]),
        lambda: scwm.extract(model, []),
        lambda: scwm.extract(model, str(broken)),
        lambda: scwm.rank(model, [broken], broken),
        lambda: scwm.load_model(broken),
        lambda: scwm.load_model(tmp_path / "absent.pt"),
    ):
        with pytest.raises(ScwmError):
            call()


@pytest.mark.parametrize("method", ["random_features", "colour_histogram"])
def test_controls_without_a_network_are_refused(tiny_config, toy_weights, tmp_path, method):
    """Their model.pt holds an untrained network, whose features are not the control's."""
    config = tiny_config(method)
    payload = {
        "config": plain(config),
        "model": build_network(config, toy_weights).state_dict(),
    }
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ScwmError, match=f"'{method}' is a control without a network"):
        scwm.load_model(tmp_path)


def test_a_model_without_a_newer_setting_has_its_default(tiny_config, toy_weights, tmp_path):
    config = tiny_config("scwm")
    stored = plain(config)
    del stored["pseudo_labels"]["clustering"]
    model = build_network(config, toy_weights).state_dict()
    torch.save({"config": stored, "model": model}, tmp_path / "model.pt")
    assert scwm.load_model(tmp_path / "model.pt").config.pseudo_labels.clustering == "dbscan"
