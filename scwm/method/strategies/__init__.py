"""Memory strategies, one a file: how much each sample of a cluster moves its prototype."""
