"""The training of a run."""
