"""Thin drivers: one job each, with `run(config)`; each runs with `python -m`, too."""
