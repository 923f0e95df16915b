"""Foreground corrections, one per file: they decide again which pixels show the person."""
