"""What a rehearsal has measured."""

from __future__ import annotations

from dataclasses import dataclass

from raypipe.diagnosis.machine import Machine
from raypipe.diagnosis.rates import Costs, Pool

__all__ = ["Findings", "Node", "Precision", "Reading", "Transfer"]


@dataclass(frozen=True)
class Reading:
    """Reading some items: seconds per image.

    Attributes:
        images: how many were read.
        bytes: of all of them.
        found: reading them as they were found, cached or not.
        cached: reading them once more.
        cold: reading them from the storage; None where the cache cannot be emptied.
    """

    images: int
    bytes: int
    found: float
    cached: float
    cold: float | None


@dataclass(frozen=True)
class Transfer:
    """Bytes per second of one process: into the object store, and out of it into memory."""

    put: float
    get: float


@dataclass(frozen=True)
class Precision:
    """The network in another arithmetic than the chosen one.

    Attributes:
        name: of the arithmetic.
        times: how many times the chosen one's rate it has.
        cosine: least one between an image's features in both.
    """

    name: str
    times: float
    cosine: float


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its hardware, replicas on it, and cores that Ray gives out."""

    machine: Machine
    replicas: int
    cpus: int


@dataclass(frozen=True)
class Findings:
    """What a rehearsal has measured, with all replicas at work unless it says otherwise.

    Attributes:
        costs: seconds per image, step by step.
        pool: what computes.
        batch_size: images per forward pass.
        unit: images per unit.
        pixel_bytes: what one image's pixels take on their way to the network.
        batches: images (each view counts) per second of one replica's network, by batch size.
        precision: the arithmetic that was chosen.
        precisions: other ones that the hardware has.
        reading: of the sample, means over replicas.
        rejects: how many of the sampled images could not be decoded.
        message: why the first of them could not.
        transfer: the object store's rates.
        alone: images per second of one replica while the others wait; None where there is one.
        start: seconds from the start until all replicas had done a batch.
        nodes: the cluster's machines with replicas or cores at work.
        store: bytes of one node's object store.
        replica_memory: most bytes that a replica took.
    """

    costs: Costs
    pool: Pool
    batch_size: int
    unit: int
    pixel_bytes: int
    batches: dict[int, float]
    precision: str
    precisions: tuple[Precision, ...]
    reading: Reading
    rejects: int
    message: str
    transfer: Transfer
    alone: float | None
    start: float
    nodes: tuple[Node, ...]
    store: int
    replica_memory: int
