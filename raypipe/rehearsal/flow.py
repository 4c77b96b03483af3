"""What the processes of a rehearsal are told, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from raypipe.diagnosis.machine import Machine
from raypipe.pipeline import Reading
from raypipe.runtime import Replicas
from raypipe.spec import Spec
from raypipe.store.partition import Format

__all__ = ["Check", "Flow", "Place"]


@dataclass(frozen=True)
class Flow:
    """The steps of an extraction, as `pipeline.write` has them.

    Attributes:
        backbone: the network, in the object store.
        spec: what the features are.
        replicas: the actor pool.
        max_pixels: cap on an image's pixels.
        one_server: whether all items come from one server.
        form: file format of the partitions.
        folder: where files are written; it is removed afterwards, on every node.
    """

    backbone: ray.ObjectRef
    spec: Spec
    replicas: Replicas
    max_pixels: int
    one_server: bool
    form: Format
    folder: str

    @property
    def reading(self) -> Reading:
        """Options of the steps that read."""
        return Reading(self.spec, self.max_pixels, self.one_server)


@dataclass(frozen=True)
class Place:
    """Where a process runs, and what that machine has."""

    node: str
    machine: Machine


@dataclass(frozen=True)
class Check:
    """Items that a process has decoded once.

    Attributes:
        images: how many there were.
        rejects: how many of them are rejects.
        message: why the first one is.
        seconds: what an item took.
        busy: of these, seconds in which it was worked on and not waited for.
    """

    images: int
    rejects: int
    message: str
    seconds: float
    busy: float
