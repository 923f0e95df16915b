"""Random generators derived from one seed, one for each purpose and epoch.

Nothing of a generator has to be saved for a run to resume: epoch e draws the same numbers whether
or not the run was interrupted before it.
"""

import zlib

import numpy as np
import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A 63-bit seed for one purpose of one epoch of the run with this seed."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator: the draws are the same whatever the device they are used on."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))


def numpy_generator(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """As `torch_generator`, for NumPy."""
    return np.random.default_rng(derived_seed(seed, purpose, epoch))
