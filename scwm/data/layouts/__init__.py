"""Layouts, one per file: the arrangement of a data set's files on disk, and its reader."""
