"""The flow of `extract` and `predict`: plan, prepare, run on Ray, recover, publish."""
