"""A short name for the losses: `scwm.method.losses`."""

from scwm.method.losses import diversity_loss, parsing_loss, separation_loss

__all__ = ["diversity_loss", "parsing_loss", "separation_loss"]
