"""Networks and their pretrained weights."""

from scwm.models.backbone import load_weights
from scwm.models.network import Network, Output
from scwm.models.part_head import PartHead
from scwm.models.weights import get_weights, read_state

__all__ = ["Network", "Output", "PartHead", "get_weights", "load_weights", "read_state"]
