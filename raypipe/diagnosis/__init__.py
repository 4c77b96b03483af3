"""Measuring of a short extraction, and what its figures say about the long one."""
