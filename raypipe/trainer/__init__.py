"""Train a perceptron with Ray Train: one worker or many, with GPUs where there are some."""

from raypipe.trainer.placement import Placement, place
from raypipe.trainer.run import Trained, train
from raypipe.trainer.share import HELD_OUT, LEFT_OUT, TRAIN, VALIDATION, Table
from raypipe.trainer.worker import Job

__all__ = [
    "HELD_OUT",
    "LEFT_OUT",
    "TRAIN",
    "VALIDATION",
    "Job",
    "Placement",
    "Table",
    "Trained",
    "place",
    "train",
]
