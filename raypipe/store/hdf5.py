"""Partitions as HDF5 files."""

SUFFIX = ".h5"
