"""Space corrections, one per file: they split the foreground into regions of the body."""
