"""What work has taken: images, bytes, rejects and seconds, per unit and in all."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from raypipe.store.partition import File

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What some images have taken.

    Attributes:
        images: those that became rows.
        rejects: how many became rejects, by reason.
        bytes_read: size of the images.
        bytes_written: size of the partitions.
        read_seconds: spent waiting for bytes, which are read ahead of decoding.
        decode_seconds: spent decoding and preprocessing.
        compute_seconds: spent in the network.
        write_seconds: spent writing partitions.
        device_bytes: most memory of the GPU that was in use, of any replica; 0 without one.
    """

    images: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    compute_seconds: float = 0.0
    write_seconds: float = 0.0
    device_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return what both have taken together."""
        sums: dict[str, Any] = {
            name: value + getattr(other, name)
            for name, value in vars(self).items()
            if name not in ("rejects", "device_bytes")
        }
        rejects = dict(Counter(self.rejects) + Counter(other.rejects))
        device_bytes = max(self.device_bytes, other.device_bytes)
        return Cost(**sums, rejects=rejects, device_bytes=device_bytes)

    def to_text(self) -> str:
        """Return a form that travels with a unit's block."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Cost:
        """Return what `to_text` was called on."""
        return cls(**json.loads(text))

    @property
    def items(self) -> int:
        """How many images were worked on, rejects among them."""
        return self.images + sum(self.rejects.values())

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of work by step, summed over processes."""
        return {
            "read": round(self.read_seconds, 3),
            "decode": round(self.decode_seconds, 3),
            "compute": round(self.compute_seconds, 3),
            "write": round(self.write_seconds, 3),
        }


@dataclass(frozen=True)
class Finished:
    """A finished unit: its files, and what it took."""

    files: list[File]
    cost: Cost


class Timer:
    """Adds up the seconds that pass within it, and in the iterators it watches."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> Timer:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since

    def watch(self, values: Iterable[T]) -> Iterator[T]:
        """Pass values on; what counts is the time that it takes to get them."""
        rest = iter(values)
        while True:
            with self:
                try:
                    value = next(rest)
                except StopIteration:
                    return
            yield value
