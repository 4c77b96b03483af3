"""Work of actors: replicas of a backbone, shards of features; and the pools that hold them."""
