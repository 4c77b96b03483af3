"""Cutting networks: tracing, rewriting, running as they are, and comparing the two."""
