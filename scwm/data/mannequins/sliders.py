"""Sliders of a body's shape, and the terms that mix its blend shapes."""

import numpy as np

RANGES = {
    "gender": (0.0, 1.0),  # 0 male … 1 female
    "age": (0.57, 1.0),  # 1/3 child, 2/3 young adult, 1 old
    "muscle": (0.2, 0.8),
    "weight": (0.0, 1.0),
    "proportions": (0.2, 0.8),
    "height": (1.42, 2.02),  # metres
}
"""Sliders, in order, with the range that was baked."""


def features(sliders: np.ndarray) -> np.ndarray:
    """Compute quadratic terms (N, Q) of sliders (N, 6), with bends in age, muscle and weight."""
    low, high = np.array(list(RANGES.values())).T
    scaled = 2 * (sliders - low) / (high - low) - 1
    bends = np.maximum(sliders[:, 1:4] - [2 / 3, 0.5, 0.5], 0)
    terms = np.concatenate([np.ones((len(sliders), 1)), scaled, bends], 1)
    i, j = np.triu_indices(terms.shape[1])
    products: np.ndarray = terms[:, i] * terms[:, j]
    return products
