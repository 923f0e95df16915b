"""Space corrections, one a file: the foreground into parts that are each one region of the body."""
