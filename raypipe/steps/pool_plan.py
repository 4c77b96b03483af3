"""The pool of replicas of a backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from raypipe.display import counted


@dataclass(frozen=True)
class Replicas:
    """The actor pool: how many replicas, and what each one takes.

    Attributes:
        min_size: replicas to start with.
        max_size: replicas it may grow to.
        num_cpus: cores a replica reserves.
        num_gpus: GPUs a replica reserves.
        device: torch device within the replica.
        threads: torch threads within the replica.
        batch_size: images per forward pass.
        compiled: whether the network is compiled.
        whole_flow: whether a replica also decodes and writes: where it has no GPU to keep busy.
    """

    min_size: int
    max_size: int
    num_cpus: float
    num_gpus: float
    device: str
    threads: int
    batch_size: int
    compiled: bool
    whole_flow: bool

    @property
    def in_words(self) -> str:
        """What computes: copies of the network, and where they are."""
        where = "the CPU" if self.device == "cpu" else "GPUs" if self.max_size > 1 else "the GPU"
        compiled = ", compiled" if self.compiled else ""
        return f"{counted(self.max_size, 'copy', 'copies')} of the network on {where}{compiled}"

    def fewer(self, halved: int) -> Replicas:
        """Return a pool of half as many, so many times over, and of one at least."""
        most = max(1, self.max_size >> halved)
        return replace(self, min_size=min(self.min_size, most), max_size=most)
