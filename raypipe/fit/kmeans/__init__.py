"""k-means, in memory and on shards."""
