"""Speed and memory of every stage, each compared with a plain reference on the same input."""

STAGES = (
    "pseudo_labels",
    "pixel_clustering",
    "memory_update",
    "training_step",
    "backbone",
    "augmentation",
    "ranking",
)
"""Modules of this package that hold a `STAGES` tuple of `benchmarks.harness.Stage`."""
