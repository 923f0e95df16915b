"""Measures behind the claims, each against a plain loop or values worked out by hand."""

import itertools

import h5py
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import mutual_info_score
from torch import Tensor
from torch.nn.functional import normalize

from scwm.core.errors import ScwmError
from scwm.data.keypoints import JOINTS, read_keypoints
from scwm.evaluation import (
    cut_or_shifted,
    effective_parts,
    joint_scores,
    misplaced_share,
    mostly_hidden,
    part_similarity,
    weight_scores,
    wrong_members,
)
from scwm.evaluation.monitor import StepMonitor
from scwm.method.memory import WeightedMemory, cluster_means
from scwm.method.objective import Objective
from scwm.models import Output
from scwm.models.embedding import Embedding

# Memory weights


def plain_weight_scores(weights, groups, wrong, difficulty) -> tuple[float, float]:
    """Group by group: weights under equal weights, and ranks by SciPy."""
    given = equal = 0.0
    ranks: list[tuple[np.ndarray, np.ndarray]] = []
    for group in set(groups):
        own = groups == group
        if weights[own].sum() == 0:
            continue
        given += weights[own & wrong].sum()
        equal += weights[own].sum() * (own & wrong).sum() / own.sum()
        right = own & ~wrong
        pair = [rankdata(values[right]) for values in (weights, difficulty)]
        ranks.append(tuple(r - r.mean() for r in pair))
    one, two = (np.concatenate(side) for side in zip(*ranks, strict=True))
    return given / equal, (one @ two) / np.sqrt((one @ one) * (two @ two))


@pytest.mark.parametrize("seed", range(4))
def test_weight_scores_equal_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(12), 4))
    weights = rng.integers(0, 4, 48).astype(float)  # with ties
    weights[groups == 3] = 0  # a cluster of which nothing is visible
    total = np.bincount(groups, weights)[groups]
    weights = np.divide(weights, total, out=np.zeros(48), where=total > 0)
    wrong, difficulty = rng.random(48) < 0.3, rng.random(48)
    scores = weight_scores(weights, groups, wrong, difficulty, hidden=wrong)
    found = [scores[name] for name in ("wrong_ratio", "hard_rank")]
    np.testing.assert_allclose(found, plain_weight_scores(weights, groups, wrong, difficulty))
    assert scores["hidden_ratio"] == scores["wrong_ratio"]


def test_hard_rank_of_one_group_is_spearmans():
    rng = np.random.default_rng(0)
    weights, difficulty = rng.random((2, 30))
    scores = weight_scores(weights / weights.sum(), np.zeros(30), np.zeros(30) > 1, difficulty)
    assert scores["hard_rank"] == pytest.approx(spearmanr(weights, difficulty).statistic)
    assert scores["wrong_ratio"] is None and scores["hidden_ratio"] is None


def test_strategies_do_to_wrong_samples_what_they_are_for():
    """Three samples near the prototype and one of another identity, far away."""
    features = normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, -0.1], [0.0, 1.0]]), dim=1)
    labels = torch.zeros(4, dtype=torch.long)
    difficulty = (1 - features @ features[:3].mean(0)).numpy()
    wrong = np.array([False, False, False, True])
    ratio, rank = {}, {}
    for strategy in ("uniform", "hardest", "hard_mining", "noise_suppression"):
        memory = WeightedMemory([[1.0, 0.0]], strategy=strategy, tau=0.1)
        weights = memory.weights(features, labels).double().numpy()
        scores = weight_scores(weights, labels.numpy(), wrong, difficulty)
        ratio[strategy], rank[strategy] = scores["wrong_ratio"], scores["hard_rank"]
    assert ratio["uniform"] == pytest.approx(1) and ratio["hardest"] == pytest.approx(4)
    assert ratio["noise_suppression"] < 0.01 and 3.9 < ratio["hard_mining"] < 4
    assert rank["uniform"] == rank["hardest"] == 0
    assert rank["hard_mining"] == -rank["noise_suppression"]


def test_wrong_members_are_not_of_the_majority():
    labels = np.array([0, 0, 0, 1, 1, -1, 2])
    truth = np.array([7, 7, 9, 9, 4, 7, 3])  # cluster 1 is a draw: the lower identity
    expected = [False, False, True, True, False, False, False]
    np.testing.assert_array_equal(wrong_members(labels, truth), expected)
    assert not wrong_members(np.full(3, -1), truth[:3]).any()


# Parts


def test_effective_parts():
    assert effective_parts(torch.full((5, 6), 0.1)) == pytest.approx(6)
    assert effective_parts(torch.tensor([[0.4, 0.0, 0.0]])) == pytest.approx(1)
    assert effective_parts(torch.zeros(2, 3)) == 0
    share = np.array([0.5, 0.3, 0.2])
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_parts(torch.tensor(share)[None]) == pytest.approx(expected)


def test_part_similarity_equals_a_plain_loop():
    features, seen = torch.randn(4, 5, 3), torch.rand(4, 5).relu() - 0.4
    cosines = [
        float(torch.cosine_similarity(features[i, k], features[i, m], dim=0))
        for i in range(4)
        for k, m in itertools.combinations(range(5), 2)
        if seen[i, k] > 0 and seen[i, m] > 0
    ]
    total, pairs = part_similarity(features, seen)
    assert float(total) == pytest.approx(sum(cosines), abs=1e-5) and int(pairs) == len(cosines)


# Parsing


@pytest.mark.parametrize("seed", range(3))
def test_misplaced_share_equals_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    truth = np.zeros((5, 12, 6), int)
    for part, rows in enumerate([(1, 3), (3, 7), (7, 11)], 1):
        truth[:, slice(*rows), 1:5] = part
    truth[0, truth[0] == 3] = 0  # a part that one image lacks
    predicted = np.where(rng.random(truth.shape) < 0.35, rng.integers(0, 4, truth.shape), truth)
    predicted = np.array([0, 2, 3, 1])[predicted]
    iou = [[((predicted == p) & (truth == t)).sum() / ((predicted == p) | (truth == t)).sum()
            for t in (1, 2, 3)] for p in (1, 2, 3)]  # fmt: skip
    partner = dict(zip(*linear_sum_assignment(iou, maximize=True), strict=True))
    counted = misplaced = 0
    for image, row, column in np.ndindex(truth.shape):
        part = predicted[image, row, column]
        if part and truth[image, row, column]:
            true = np.nonzero((truth[image] == partner[part - 1] + 1).any(1))[0]
            if len(true):
                counted += 1
                misplaced += not true.min() <= row <= true.max()
    assert misplaced > 0
    assert misplaced_share(predicted, truth) == misplaced / counted
    assert misplaced_share(truth, truth) == 0


def test_traits_of_boxes():
    masks = np.zeros((6, 16, 8), np.uint8)
    masks[0, 2:14, 2:6] = 1  # in the middle
    masks[1, 0:14, 2:6] = 1  # cut above
    masks[2, 2:16, 2:6] = 1  # cut below
    masks[3, 2:14, 4:8] = 1  # two cells of eight to the right
    masks[4, 2:14, 2:4] = 1  # half hidden; an eighth to the left, no more
    np.testing.assert_array_equal(cut_or_shifted(masks), [False, True, True, True, False, False])
    np.testing.assert_array_equal(mostly_hidden(masks), [False, False, False, False, True, True])


def test_joint_scores_by_hand():
    predicted = np.zeros((2, 4, 4), int)
    predicted[:, 1:3, 1:3] = [[1, 1], [2, 2]]
    predicted[1, 0] = 1  # a row of the border in one image of two: 4 of 24 ring cells
    points = np.array([[[0.4, 0.3], [0.6, 0.7], [0.9, 0.95]]] * 2)  # parts 1, 2, background
    scores = joint_scores(predicted, points, np.array([0, 1, 2]))
    assert scores["joints_in_foreground"] == pytest.approx(2 / 3)
    assert scores["border_in_foreground"] == pytest.approx(4 / 24)
    assert scores["joints_minus_border"] == pytest.approx(2 / 3 - 4 / 24)
    assert scores["joint_part_nmi"] == pytest.approx(1)
    mixed = joint_scores(predicted, points, np.array([0, 0, 2]))
    assert mixed["joint_part_nmi"] == pytest.approx(mutual_info_score([0, 0], [1, 2]), abs=1e-12)
    assert joint_scores(predicted * 0, points, np.arange(3))["joint_part_nmi"] == 0


def test_keypoints_are_read_and_mistakes_named(tmp_path):
    path = tmp_path / "points.mat"
    values = np.arange(3 * 28).reshape(3, 28) % 60 + 1.0
    with h5py.File(path, "w") as file:
        file["pp"] = values
    points = read_keypoints(path, np.array([0, 2]))
    assert points.shape == (2, 14, 2) and len(JOINTS) == 14
    np.testing.assert_allclose(points[1, 3] * (64, 128) + 0.5, values[2, [3, 17]])
    with pytest.raises(ScwmError, match="expected \\(5 or more, 28\\)"):
        read_keypoints(path, np.arange(5))
    path.write_text("no HDF5")
    with pytest.raises(ScwmError, match="Not a file of key points"):
        read_keypoints(path, np.arange(2))


# The monitor of an epoch's steps


def made_up_output(rng: np.random.Generator, count: int) -> Output:
    def unit(*shape: int) -> Tensor:
        return normalize(torch.from_numpy(rng.normal(size=shape)).float(), dim=-1)

    visibility = torch.from_numpy(rng.random((count, 3))).float()
    return Output(unit(count, 8), unit(count, 3, 5), visibility * (visibility > 0.2))


def test_monitor_equals_the_steps_scored_one_by_one(tiny_config, toy_store):
    split, rng = toy_store.split("train"), np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(-1, 6, len(split)))
    whole = made_up_output(rng, len(split))
    embedding = Embedding(whole.global_feature, whole.part_features, whole.visibility)
    objective = Objective.of(tiny_config("scwm"), embedding, labels)
    monitor = StepMonitor.of(objective, embedding, labels, split)
    truth = np.unique(split.ids, return_inverse=True)[1]
    wrong = wrong_members(labels.numpy(), truth)
    flat: dict[str, list[np.ndarray]] = {name: [] for name in ("weight", "group", "hard", "wrong")}
    seen, cosines = [], []
    for step in range(3):
        rows = torch.from_numpy(rng.permutation(np.flatnonzero(labels >= 0))[:16])
        output = made_up_output(rng, 16)
        weights = objective.parts.weights(output.part_features, labels[rows], output.visibility)
        for k, weight in enumerate(weights.unbind(1)):
            features = output.part_features[:, k]
            mean = cluster_means(
                whole.part_features[:, k], torch.from_numpy(truth), whole.visibility[:, k]
            )
            flat["weight"].append(weight.numpy())
            flat["hard"].append(1 - (features * mean[truth[rows]]).sum(1).numpy())
            flat["group"].append(labels[rows].numpy() + 100 * k + 1000 * step)
            flat["wrong"].append(wrong[rows])
        seen.append(output.visibility)
        cosines.append(part_similarity(output.part_features, output.visibility))
        monitor.add(output, rows)
        objective.update(output, rows)
    found = monitor.read()
    joined = {name: np.concatenate(values) for name, values in flat.items()}
    expected = weight_scores(joined["weight"].astype(float), joined["group"], joined["wrong"],
                             joined["hard"])  # fmt: skip
    assert found["wrong_share"] == pytest.approx(joined["wrong"].mean())  # of groups of any size
    assert found["part_wrong_ratio"] == pytest.approx(expected["wrong_ratio"])
    assert found["part_hard_rank"] == pytest.approx(expected["hard_rank"])
    assert found["global_wrong_ratio"] is not None and -1 <= found["global_hard_rank"] <= 1
    assert found["effective_parts"] == pytest.approx(effective_parts(torch.cat(seen)))
    total, pairs = (sum(float(c[i]) for c in cosines) for i in (0, 1))
    assert found["part_similarity"] == pytest.approx(total / pairs, abs=1e-6)
