"""Training of a perceptron: in this process, or with Ray Train in several."""

from raypipe.trainer.here import Job, Trained, train_here
from raypipe.trainer.run import scaling_config, train_in_workers
from raypipe.trainer.share import HELD_OUT, LEFT_OUT, TRAIN, VALIDATION, Table

__all__ = [
    "HELD_OUT",
    "LEFT_OUT",
    "TRAIN",
    "VALIDATION",
    "Job",
    "Table",
    "Trained",
    "scaling_config",
    "train_here",
    "train_in_workers",
]
