"""What all fits on shards share: rows, sums in a fixed order, steps, checkpoints."""
