"""Runs an extraction's own steps on a sample, in all replicas at once, and times them."""
