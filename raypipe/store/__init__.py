"""Partitions (Parquet, HDF5), snapshots, reader."""
