"""Heads: fitted classifiers as arrays, which predict in NumPy alone."""

from raypipe.heads.calibration import Calibration
from raypipe.heads.forest import Forest
from raypipe.heads.head import Head, as_rows, channel_axis, row_width
from raypipe.heads.linear import Linear
from raypipe.heads.mlp import Mlp
from raypipe.heads.neighbours import Neighbours
from raypipe.heads.saving import SCORERS, restore_head, saved_arrays, saved_settings
from raypipe.heads.scaling import Scaling
from raypipe.heads.scorer import Scorer

__all__ = [
    "SCORERS",
    "Calibration",
    "Forest",
    "Head",
    "Linear",
    "Mlp",
    "Neighbours",
    "Scaling",
    "Scorer",
    "as_rows",
    "channel_axis",
    "restore_head",
    "row_width",
    "saved_arrays",
    "saved_settings",
]
