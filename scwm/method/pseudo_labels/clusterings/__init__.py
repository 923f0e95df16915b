"""Clusterings of images by their Jaccard distance, one per file."""
