"""Training: from a store's labelled rows to a model or clusters, with evaluation and results."""
