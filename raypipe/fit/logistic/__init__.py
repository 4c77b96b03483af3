"""Logistic regression on shards: loss, L-BFGS, a path over the grid."""
