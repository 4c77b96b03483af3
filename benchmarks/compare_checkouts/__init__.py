"""Comparison of two checkouts on one folder: what the older one wrote, the newer one goes on with.

The older checkout writes stores, models, clusters and predictions, and leaves fits and an
extraction that were killed. The newer one does the same from nothing; then both go on with what the
older one left, each on a copy of it: they extract again, take what has been added, finish what was
killed. What they print with `--json`, and every file they leave, has to be the same.
"""
