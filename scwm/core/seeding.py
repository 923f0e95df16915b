"""Random generators derived from one seed, one for each purpose and epoch.

A run resumes without a saved generator: epoch e draws the same numbers whether or not the run was
interrupted before it.
"""

import zlib

import numpy as np
import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """Derive a 63-bit seed for one purpose of one epoch from the seed of a run."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """Return a CPU generator, whose draws do not depend on the device of the computation."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))


def numpy_generator(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a generator like `torch_generator` for NumPy."""
    return np.random.default_rng(derived_seed(seed, purpose, epoch))
