"""Losses against plain NumPy computations and known extremes; one contract for all."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scwm.method.losses import diversity_loss, parsing_loss, separation_loss


def masks(seed: int = 0) -> torch.Tensor:
    logits = torch.randn(4, 5, 6, 3, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(1)[:, 1:]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_parsing_loss_is_mean_negative_log_likelihood():
    logits = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 4, (2, 3, 2)).to(torch.uint8)
    total = 0.0
    for i, u, v in np.ndindex(2, 3, 2):
        scores = logits[i, :, u, v].double().numpy()
        total += math.log(np.exp(scores).sum()) - scores[labels[i, u, v]]
    assert float(parsing_loss(logits, labels)) == pytest.approx(total / 12, rel=1e-5)


def test_diversity_loss_is_its_formula():
    p = masks().double().numpy()
    pairs = [
        cosine(image[k].ravel(), image[m].ravel())
        for image in p
        for k in range(4)
        for m in range(k + 1, 4)
    ]
    share = p.mean((0, 2, 3)) / p.mean((0, 2, 3)).sum()
    expected = np.mean(pairs) + math.log(4) + (share * np.log(share)).sum()
    assert float(diversity_loss(masks())) == pytest.approx(expected, rel=1e-5)


def test_diversity_loss_extremes():
    disjoint = F.one_hot(torch.arange(8) % 4, 4).T.reshape(1, 4, 4, 2).float()
    assert float(diversity_loss(disjoint)) == pytest.approx(0, abs=1e-6)
    swallowed = torch.full((1, 4, 4, 2), 1e-6)
    swallowed[:, 0] = 1
    assert float(diversity_loss(swallowed)) > math.log(4)
    assert float(diversity_loss(torch.ones(1, 4, 4, 2))) == pytest.approx(1, abs=1e-5)


def test_separation_loss_is_its_formula():
    parts = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1)) + 0.7
    seen = torch.tensor([[0.1, 0.2, 0, 0.3], [0, 0, 0, 0.5], [0.2, 0.1, 0.1, 0.1]])
    values = [
        max(0, cosine(parts[i, k].numpy(), parts[i, m].numpy()) - 0.3)
        for i in range(3)
        for k in range(4)
        for m in range(k + 1, 4)
        if seen[i, k] > 0 and seen[i, m] > 0
    ]
    loss = separation_loss(parts, seen, 0.3)
    assert float(loss) == pytest.approx(np.mean(values), rel=1e-5)
    assert float(separation_loss(parts, torch.zeros(3, 4))) == 0
    orthogonal = torch.eye(4).expand(3, 4, 4)
    assert float(separation_loss(orthogonal, torch.ones(3, 4))) == 0


LOSSES = {
    "parsing": lambda x: parsing_loss(x, torch.zeros(4, 6, 3, dtype=torch.uint8)),
    "diversity": lambda x: diversity_loss(x.softmax(1)[:, 1:]),
    "separation": lambda x: separation_loss(x.flatten(2), torch.ones(4, 5), -1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_contract_of_every_loss(name):
    """A finite scalar >= 0 whose gradient is right and whose descent lowers it."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 5, 6, 3, generator=generator, dtype=torch.double, requires_grad=True)
    loss = LOSSES[name](x)
    assert loss.ndim == 0 and loss.item() >= 0 and math.isfinite(loss.item())
    assert torch.autograd.gradcheck(LOSSES[name], x)
    (gradient,) = torch.autograd.grad(loss, x)
    assert LOSSES[name](x - 1e-2 * gradient / gradient.norm()) < loss


def test_one_part_overlaps_with_none():
    assert float(diversity_loss(np.ones((2, 1, 4, 3)))) == pytest.approx(0)
    assert float(separation_loss(np.ones((2, 1, 4)), np.ones((2, 1)))) == 0
