"""Memory strategies, one per file: the weight of each sample in its prototype's update."""
