"""Controls against NumPy, and the seeds that everything random starts from."""

import numpy as np
import torch

from scwm.core.seeding import derived_seed, numpy_generator, torch_generator
from scwm.evaluation.controls import BINS, STRIPES, colour_histogram, random_features


def test_colour_histogram_is_numpys(toy_store):
    images = toy_store.split("query").images[:3]
    found = colour_histogram(images)
    height = images.shape[1]
    for image, feature in zip(images, found, strict=True):
        counts = [
            np.histogram(stripe[..., channel], BINS, (0, 256))[0]
            for stripe in (
                image[height * s // STRIPES : height * (s + 1) // STRIPES] for s in range(STRIPES)
            )
            for channel in range(3)
        ]
        expected = np.sqrt(np.concatenate(counts))
        np.testing.assert_allclose(feature, expected / np.linalg.norm(expected), atol=1e-6)


def test_random_features_are_unit_and_of_their_split():
    query, gallery = (random_features(500, 0, name, 64) for name in ("query", "gallery"))
    assert torch.allclose(query.norm(dim=1), torch.ones(500))
    assert torch.equal(query, random_features(500, 0, "query", 64))
    assert abs(float((query * gallery).sum(1).mean())) < 0.05


def test_seeds_are_independent():
    seeds = [derived_seed(s, p, e) for s in range(5) for p in ("a", "b") for e in range(5)]
    assert len(set(seeds)) == 50 and all(0 <= seed < 2**63 for seed in seeds)
    for draw in (
        lambda epoch: torch.rand(3, generator=torch_generator(0, "a", epoch)).tolist(),
        lambda epoch: numpy_generator(0, "a", epoch).random(3).tolist(),
    ):
        assert draw(3) == draw(3) != draw(4)
