"""Thin drivers: one job each, with `run(config)` and `main()`."""
