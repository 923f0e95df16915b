"""Layouts, one a file: how the files of a data set lie on disk, and how they are read."""
