"""A trained model on the user's own crops, and as a file for other programs."""
