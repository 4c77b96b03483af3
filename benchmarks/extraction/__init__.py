"""Image feature extraction: raypipe, other ways to do the same, and what the machine could do.

    python -m benchmarks.extraction [--quick]

`contestants/` holds the ways as scripts that can be read as the recipes they are, `field` lists
them and raypipe as data, `run` measures
them in turn, `ideal` measures the work itself without any of them, `trace` says what start-up and
steady state mean.
"""
