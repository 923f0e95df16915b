"""Inputs with the structure of real ones: features of identities, cameras, noise and outliers."""

import numpy as np
import torch

IMAGES_PER_IDENTITY = {"market1501": 12_936 / 751, "msmt17": 32_621 / 1_041}
OUTLIERS = 0.05
LOOK = 10  # identities that dress alike: every network confuses some of them
CHUNK = 8192


def identities(count: int, like: str = "market1501", seed: int = 0) -> np.ndarray:
    """Identity (count,) int64 of each image, sizes log-normal around the data set's mean."""
    chance = np.random.default_rng(seed)
    mean = IMAGES_PER_IDENTITY[like]
    sizes = np.maximum(2, chance.lognormal(np.log(mean) - 0.125, 0.5, int(2 * count / mean) + 8))
    owner = np.repeat(np.arange(len(sizes)), sizes.astype(int))[:count]
    return np.unique(chance.permutation(owner), return_inverse=True)[1]


def features(
    owner: np.ndarray, dimension: int = 2048, cameras: int = 6, seed: int = 0
) -> np.ndarray:
    """Unit rows (N,dimension) float32 of images of identities `owner` (N,).

    Half of an identity's mean is its look's; look, mean, the camera's shift and noise share a
    decaying spectrum, as features of a network do; OUTLIERS of the images are mostly noise. In
    2048 dimensions the k-reciprocal sets have the sizes that they have for networks trained on 200
    identities of Market-1501: 21 images a set, 27 expanded, 47 after query expansion, 2,500 weights
    of others in an image's columns; DBSCAN finds 0.8 to 0.9 clusters an identity and leaves 2 % of
    the images out.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    count = int(owner.max()) + 1
    means = normal(count // LOOK + 1, dimension)[torch.arange(count) // LOOK]
    means = (means + normal(count, dimension)) / 2**0.5
    shifts = 0.4 * normal(cameras, dimension)
    spectrum = torch.arange(1, dimension + 1) ** -0.5
    out = torch.empty(len(owner), dimension)
    for x, who in zip(out.split(CHUNK), torch.from_numpy(owner).split(CHUNK), strict=True):
        outlier = torch.rand(len(x), 1, generator=generator) < OUTLIERS
        torch.randn(x.shape, generator=generator, out=x)
        x *= torch.where(outlier, 2.0, 0.7)
        x += means[who]
        x += shifts[torch.randint(cameras, (len(x),), generator=generator)]
        x *= spectrum
        x /= torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return out.numpy()
