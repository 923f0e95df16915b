"""What every clustering, memory strategy and correction must do.

They are found by the names of their files, so a new one is tested by being there:
``pytest tests -k NAME``. docs/contributing.md says what each holds.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from test_parsing import figures
from torch import Tensor

from scwm.core import plugins
from scwm.core.config import named_modules
from scwm.core.errors import ScwmError
from scwm.core.plugins import (
    CLUSTERINGS,
    FOREGROUND_CORRECTIONS,
    KINDS,
    SPACE_CORRECTIONS,
    STRATEGIES,
)
from scwm.evaluation import parsing_scores
from scwm.method.labelling import label_images
from scwm.method.memory import WeightedMemory
from scwm.method.parsing import activation, cascaded_clustering, two_means
from scwm.method.parsing.pixels import Pixels
from scwm.method.weighting import Samples
from scwm.models.embedding import Embedding
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import train

every_clustering = pytest.mark.parametrize("clustering", CLUSTERINGS.names())
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.names())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_every_module_says_what_it_is(kind):
    for name in kind.names():
        assert kind.load(name).__doc__, name
    with pytest.raises(ScwmError, match=f"(?s)Unknown {kind.what} 'non_such'.*choose one of"):
        kind.load("non_such")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_a_module_without_its_function_is_named(kind, monkeypatch):
    name = kind.names()[0]
    monkeypatch.setattr(plugins, "import_module", lambda _: SimpleNamespace())
    with pytest.raises(ScwmError, match=f"{kind.what} '{name}' does not define `{kind.function}`"):
        kind.load(name)


# Clusterings


@pytest.fixture(scope="module")
def near() -> tuple[sparse.csr_array, np.ndarray]:
    """20 people of 8 images, 3 images of one person, and 5 of 5 others: 0.2 to 0.4 within a person,
    and 0.95 between a tenth of the others."""
    ids = np.repeat(np.arange(26), [8] * 20 + [3] + [1] * 5)
    draws = np.random.default_rng(0).random((len(ids), len(ids)))
    distance = np.where(draws < 0.1, 0.95, 1.0)
    same = ids[:, None] == ids
    distance[same] = 0.2 + 0.2 * draws[same]
    distance = np.minimum(distance, distance.T)
    np.fill_diagonal(distance, 0)
    places = np.nonzero(distance < 1)
    return sparse.csr_array((distance[places], places), shape=distance.shape), ids


def clustered(clustering: str, distance: sparse.csr_array, eps: float = 0.7) -> np.ndarray:
    if clustering == "infomap":
        pytest.importorskip("infomap")
    return CLUSTERINGS.load(clustering).cluster(distance, eps, 4)


@every_clustering
def test_clustering_finds_people_far_apart(near, clustering):
    """Each is a cluster, numbered from 0 by its first image; fewer than four images are none."""
    distance, ids = near
    found = clustered(clustering, distance)
    np.testing.assert_array_equal(found, np.where(ids < 20, ids, -1))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, clustered(clustering, distance.copy()))


@every_clustering
def test_clustering_of_nothing_near_is_empty(clustering):
    alone = sparse.csr_array((np.zeros(6), (np.arange(6), np.arange(6))), shape=(6, 6))
    assert (clustered(clustering, alone) == -1).all()


@every_clustering
def test_clustering_gives_labels_to_a_training(tiny_config, clustering):
    if clustering == "infomap":
        pytest.importorskip("infomap")
    config = tiny_config("global_only", pseudo_labels={"clustering": clustering, "k1": 10})
    files = [file for file in named_modules(config) if file.startswith(CLUSTERINGS.folder)]
    assert files == [f"method/pseudo_labels/clusterings/{clustering}.py"]
    ids = np.repeat(np.arange(10), 8)
    features = F.normalize(unit(10, 32, seed=0)[ids] + 0.05 * unit(80, 32, seed=1), dim=1)
    labels = label_images(config, Embedding(features), ids)
    assert adjusted_rand_score(ids, labels) == 1


# Memory strategies


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Features (40,3,16), labels in 0..6 of which 5 does not occur, visibility with a tenth hidden,
    part 1 of cluster 2 in all its samples and cluster 3 whole."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (40,), generator=draws)
    labels[:2] = 6
    seen = torch.rand(40, 3, generator=draws).round(decimals=2)
    seen[torch.rand(40, 3, generator=draws) < 0.1] = 0
    seen[labels == 2, 1] = 0
    seen[labels == 3] = 0
    return unit(40, 3, 16, seed=1), labels, seen


@every_strategy
@pytest.mark.parametrize("tau", [1e-3, 0.1, 100.0])
def test_weights_of_a_strategy(batch, strategy, tau):
    """At least 0, 0 where nothing is visible, and 1 together in each visible cluster and part."""
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 3, 16, seed=2), strategy=strategy, tau=tau)
    ends = memory.prototypes(labels) * (1 - 2 * (labels % 2))[:, None, None]  # difficulty 0 or 2
    for given in (features, ends):
        weights = memory.weights(given, labels, seen)
        assert weights.shape == (40, 3) and weights.dtype == torch.float32
        assert torch.isfinite(weights).all() and (weights >= 0).all()
        assert not weights[seen == 0].any()
        sums = torch.zeros(7, 3).index_add_(0, labels, weights)
        visible = torch.zeros(7, 3).index_add_(0, labels, seen) > 0
        torch.testing.assert_close(sums, visible.float())


@every_strategy
def test_strategy_sees_one_cluster_and_one_part_at_a_time(batch, strategy):
    """All at once are each alone; the order of the samples does not matter."""
    features, labels, seen = batch
    centroids = unit(7, 3, 16, seed=2)
    weights = WeightedMemory(centroids, strategy=strategy).weights(features, labels, seen)
    for part in range(3):
        memory = WeightedMemory(centroids[:, part], strategy=strategy)
        for cluster in labels.unique():
            own = labels == cluster
            found = memory.weights(features[own, part], labels[own], seen[own, part])
            torch.testing.assert_close(found, weights[own, part])
    if hasattr(STRATEGIES.load(strategy), "update"):
        return  # a strategy with an update of its own may go by the order
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    memory = WeightedMemory(centroids, strategy=strategy)
    turned = memory.weights(features[order], labels[order], seen[order])
    torch.testing.assert_close(turned, weights[order])


@every_strategy
def test_strategy_only_reads(batch, strategy):
    _, labels, seen = batch
    difficulty = 2 * torch.rand(40, 3, generator=torch.Generator().manual_seed(4))
    given = [difficulty.clone(), seen.clone(), labels.clone()]
    module = STRATEGIES.load(strategy)
    weights = module.weights(Samples(*given, clusters=7), 0.1)
    assert weights.shape == seen.shape and weights.dtype == seen.dtype
    assert weights.data_ptr() != given[0].data_ptr()
    if hasattr(module, "start"):
        start = module.start(Samples(*given, clusters=7), 0.1)
        assert start.shape == seen.shape and (start >= 0).all() and not start[seen == 0].any()
    for one, other in zip(given, (difficulty, seen, labels), strict=True):
        assert torch.equal(one, other)


@every_strategy
def test_prototypes_stay_on_the_sphere(batch, strategy):
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 3, 16, seed=2), strategy=strategy)
    before = memory.centroids.clone()
    memory.update(features, labels, seen)
    torch.testing.assert_close(memory.centroids.norm(dim=-1), torch.ones(7, 3))
    still = torch.zeros(7, 3).index_add_(0, labels, seen) == 0
    assert torch.equal(memory.centroids[still], before[still])
    assert ((memory.centroids != before).any(-1) == ~still).all()


@every_strategy
def test_strategy_trains(toy_store, toy_weights, tiny_config, tmp_path, strategy):
    """A few steps in both memories; its file, and no other strategy's, is code of the run."""
    own = {"global_strategy": strategy, "part_strategy": strategy}
    config = tiny_config("scwm", memory=own, training={"epochs": 1})
    files = [file for file in named_modules(config) if file.startswith(STRATEGIES.folder)]
    assert files == [f"method/strategies/{strategy}.py"]
    checkpoints = Checkpoints(tmp_path / "state", {})
    train(config, toy_store.split("train"), toy_weights, tmp_path, checkpoints)
    model = torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in model.values())


# Corrections


@pytest.fixture(scope="module")
def crops() -> tuple[Pixels, Tensor, Tensor, Tensor]:
    """Pixels of 24 figures, their true parts, groups of four, ISP's foreground."""
    maps, truth = figures()
    groups = torch.arange(len(maps)) // 4
    return Pixels(maps), truth, groups, two_means(activation(maps), groups)


@pytest.mark.parametrize("name", FOREGROUND_CORRECTIONS.names())
def test_foreground_correction(crops, name):
    """A foreground no worse than the first one, for any order of the images and any given one."""
    pixels, truth, _, first = crops
    correct, given = FOREGROUND_CORRECTIONS.load(name).correct_foreground, first.clone()
    found = correct(pixels, given)
    assert found.shape == first.shape and found.dtype == torch.bool
    assert torch.equal(given, first), "the first one is not written to"
    assert torch.equal(correct(pixels, first), found), "the same again"
    before, after = (parsing_scores(f.long(), truth)["foreground_iou"] for f in (first, found))
    assert after >= before - 0.01
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(0))
    turned = correct(Pixels(figures()[0][order]), first[order])
    assert (turned == found[order]).float().mean() > 0.999
    for same in (torch.zeros_like(first), torch.ones_like(first)):
        assert correct(pixels, same).shape == first.shape


@pytest.mark.parametrize("name", SPACE_CORRECTIONS.names())
def test_space_correction(crops, name):
    """Parts 1..K of the foreground alone, top to bottom, whatever the groups are called."""
    pixels, truth, groups, _ = crops
    cluster, inside = SPACE_CORRECTIONS.load(name).cluster_parts, truth > 0
    found = cluster(pixels, inside, groups, 4)
    assert found.shape == inside.shape and found.dtype == torch.uint8
    assert torch.equal(found > 0, inside) and found.max() <= 4
    assert torch.equal(cluster(pixels, inside, groups, 4), found), "the same again"
    rows = torch.arange(found.shape[1])[None, :, None].expand_as(found)
    means = [rows[found == part].float().mean() for part in found.unique() if part]
    assert means == sorted(means)
    names = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    renamed = cluster(pixels, inside, names[groups], 4)
    assert (renamed == found).float().mean() > 0.999
    assert not cluster(pixels, torch.zeros_like(inside), groups, 4).any()
    assert torch.equal(cluster(pixels, inside, groups, 1) > 0, inside)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("foreground", name) for name in FOREGROUND_CORRECTIONS.names()),
        *(("space", name) for name in SPACE_CORRECTIONS.names()),
    ],
)
def test_correction_is_chosen_by_its_name(tiny_config, kind, name):
    maps, _ = figures(8)
    groups = torch.arange(8) // 4
    chosen = {f"{kind}_correction": name}
    labels = cascaded_clustering(maps, groups, 3, **chosen)
    plain = cascaded_clustering(maps, groups, 3, **{f"{kind}_correction": False})
    assert not torch.equal(labels, plain), "it changes something"
    file = f"method/parsing/{kind}_corrections/{name}.py"
    assert file in named_modules(tiny_config(parsing=chosen))
