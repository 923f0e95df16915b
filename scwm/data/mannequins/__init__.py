"""`mannequins`, the embedded data set: rendered pedestrians with true part masks."""

from .body import PARTS
from .dataset import fingerprint, render
from .protocol import PRESETS, Knobs

__all__ = ["PARTS", "PRESETS", "Knobs", "fingerprint", "render"]
