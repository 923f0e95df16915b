"""Backbones of timm by their names, with random weights of its smallest networks."""

import sys

import numpy as np
import pytest
import torch
from trained_runs import KEY

import scwm
from scwm.core.config import named_modules, resolve_config, split_variant
from scwm.core.errors import ScwmError
from scwm.core.plugins import BACKBONES
from scwm.data.augment import IMAGENET_MEAN, IMAGENET_STD
from scwm.models import load_weights
from scwm.models.backbone import build_backbone
from scwm.models.batch_norm import normalise_in_groups
from scwm.reporting.catalogue import with_variants
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import build_network, train

SIZES = ([64, 32], [128, 64], [256, 128], [200, 90])
NETWORKS = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "densenet121")


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def images(*size: int) -> torch.Tensor:
    return torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NETWORKS[:4])
@torch.inference_mode()
def test_a_network_of_timm_has_parts_at_every_size(timm, tiny_config, name, size):
    """Feature, parts and masks as of the suite's own backbones; a part map of 16x8 cells."""
    section = {"backbone": f"timm/{name}", "image_size": size}
    network = build_network(tiny_config("scwm", model=section), None).eval()
    output = network(images(*size))
    height, width = output.pixels.shape[2:]
    assert height >= 16 and width >= 8
    assert output.global_feature.shape == (4, network.backbone.channels[-1])
    assert output.masks.shape == (4, 4, height, width)
    assert all(torch.isfinite(values).all() for values in output[:6])
    norms = output.part_features.norm(dim=-1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4)


@torch.inference_mode()
def test_maps_with_channels_last_are_turned(timm, tiny_config):
    section = {"backbone": "timm/mambaout_femto", "image_size": [128, 64]}
    network = build_network(tiny_config("scwm", model=section), None).eval()
    assert network(images(128, 64)).global_feature.shape == (4, network.backbone.channels[-1])


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_maps_are_timms_own(timm, name):
    """Of images that are normalised as the network expects; the tokens of a transformer lie where
    its patches do."""
    torch.manual_seed(0)
    net = build_backbone(f"timm/{name}").eval()
    torch.manual_seed(0)
    options = {"dynamic_img_size": True} if name == "test_vit" else {}
    plain = timm.create_model(name, features_only=True, **options).eval()
    pixels = images(64, 32)
    own, ours = (
        torch.tensor(values).view(2, 1, 3, 1, 1)
        for values in (
            (plain.pretrained_cfg["mean"], plain.pretrained_cfg["std"]),
            (IMAGENET_MEAN, IMAGENET_STD),
        )
    )
    expected = plain((pixels - own[0]) / own[1])
    maps = net((pixels - ours[0]) / ours[1])
    assert [m.shape[1] for m in maps] == net.channels
    assert [64 // m.shape[2] for m in maps] == net.strides
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_parameters_learn_in_virtual_batches(timm, name):
    """Also where timm's normalisation computes the activation too: each group of two images gives
    what it gives as a whole batch."""
    torch.manual_seed(0)
    net, pixels = build_backbone(f"timm/{name}").train(), images(64, 32)
    expected = torch.cat([net(group)[-1] for group in pixels.split(2)])
    normalise_in_groups(net, 4, 2)
    found = net(pixels)[-1]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    found.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_weights_of_timm_are_taken_and_others_refused(timm):
    torch.manual_seed(0)
    given = build_backbone("timm/test_efficientnet").state_dict()
    net = build_backbone("timm/test_efficientnet")
    load_weights(net, given)
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())
    with pytest.raises(ScwmError, match="do not fit"):
        load_weights(build_backbone("timm/test_resnet"), given)


def test_a_network_of_timm_trains(timm, tiny_config, toy_store, tmp_path):
    section = {"backbone": "timm/test_efficientnet"}
    config = tiny_config("scwm", model=section, training={"virtual_batch": 4})
    train(config, toy_store.split("train"), None, tmp_path, Checkpoints(tmp_path / "state", KEY))
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 2
    (feature,) = scwm.extract(scwm.load_model(tmp_path), np.zeros((1, 64, 32, 3), np.uint8))
    assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-4)


# Mistakes


def test_an_unknown_network_is_named_with_the_nearest(timm):
    with pytest.raises(ScwmError, match=r"(?s)resnet19.*Did you mean 'resnet"):
        build_backbone("timm/resnet19")
    with pytest.raises(ScwmError, match=r"tag \(nonsense\) for resnet18\.\n"):  # no other name
        build_backbone("timm/resnet18.nonsense")


def test_a_network_of_one_image_size_is_told(timm):
    with pytest.raises(ScwmError, match=r"(?s)does not take images of \[64, 32\].*image_size"):
        build_backbone("timm/swin_tiny_patch4_window7_224")(images(64, 32))


def test_timm_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ScwmError, match="pip install timm"):
        build_backbone("timm/resnet18")


def test_frozen_normalisation_of_timm_is_refused(tiny_config):
    with pytest.raises(ScwmError, match=r"model\.batch_norm is frozen, which timm/resnet18"):
        tiny_config(model={"backbone": "timm/resnet18", "batch_norm": "frozen"})


@pytest.mark.parametrize(
    "value", ["timm/", "timm/../x", "timm/a b", "timm", "tim/resnet18", "_timm"]
)
def test_other_values_are_no_names_of_timm(tiny_config, value):
    with pytest.raises(ScwmError, match=r"(?s)model\.backbone is .*timm/NAME"):
        tiny_config(model={"backbone": value})


# Names


def test_a_name_of_timm_needs_no_timm_until_the_network_is_built(monkeypatch, tiny_config):
    """Snakemake checks configs and looks for their code without it."""
    monkeypatch.setitem(sys.modules, "timm", None)
    config = tiny_config(model={"backbone": "timm/resnet18.a1_in1k"})
    assert "models/backbones/_timm.py" in named_modules(config)
    assert "timm" not in BACKBONES.names() and "timm/NAME" in BACKBONES.choices()


def test_a_run_folder_holds_a_name_of_timm():
    """A variant's name has no slash, and gives the setting back; other signs stay."""
    sweep = {"model.backbone": ["timm/resnet18.a1_in1k"], "losses.part": ["1e+1"]}
    _, one, other = with_variants(["scwm"], sweep)
    assert one == "scwm@model.backbone=timm+resnet18.a1_in1k"
    assert split_variant(one)[1:] == ("model.backbone", "timm/resnet18.a1_in1k")
    assert split_variant(other)[1:] == ("losses.part", "1e+1")
    config = resolve_config(one, "toy", 0)
    assert config.model.backbone == "timm/resnet18.a1_in1k" and config.method == one
