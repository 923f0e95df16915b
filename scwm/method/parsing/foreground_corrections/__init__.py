"""Foreground corrections, one a file: which pixels show the person, decided once more."""
