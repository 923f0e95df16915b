"""Hard samples first (purpose after SCWM, formula ours); tau -> 0: `hardest`."""

from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = s_i * exp(+alpha_i / tau)``, (B,) or (B,K)."""
    return samples.tempered(samples.difficulty, tau)
