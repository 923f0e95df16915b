"""Backbones, one per file: the network in stages, and its pretrained weights by name."""
