"""A trained model on crops of one's own, and as a file for other programs."""
