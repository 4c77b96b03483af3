"""Bringing pixels to the device while it computes on those before."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from raypipe.images import Pixels

_BUFFERS = 2  # one is copied to the device while the next one is filled


class Staging:
    """Copies images to a device.

    To a GPU they go through pinned memory on a stream of their own, so that neither the host nor
    the computation waits for a copy. On a CPU nothing is copied.

    Args:
        device: where they are needed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._buffers: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []
        self._turn = 0
        self._stream = _new_stream(device) if device.type == "cuda" else None

    def __call__(self, images: Pixels) -> Tensor:
        """Return (N, H, W, 3) images as a tensor on the device."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that shared memory is read-only: it is only read
            pixels = torch.from_numpy(images)
        if self._stream is None:
            return pixels
        kept = self._buffers[0] if self._buffers else None
        if kept is None or (kept.shape, kept.dtype) != (pixels.shape, pixels.dtype):
            self._allocate(pixels)
        return self._copy(pixels, self._stream)

    def _allocate(self, pixels: Tensor) -> None:
        for event in self._copied:
            event.synchronize()
        self._buffers = [torch.empty_like(pixels).pin_memory() for _ in range(_BUFFERS)]
        self._copied = [_new_event() for _ in range(_BUFFERS)]

    def _copy(self, pixels: Tensor, stream: torch.cuda.Stream) -> Tensor:
        buffer, copied = self._buffers[self._turn], self._copied[self._turn]
        self._turn = (self._turn + 1) % _BUFFERS
        copied.synchronize()  # what was in the buffer is on the device
        buffer.copy_(pixels)
        with torch.cuda.stream(stream):
            there = buffer.to(self.device, non_blocking=True)
            copied.record(stream)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copied)
        there.record_stream(computing)  # its memory is not to be given away before it was used
        return there


def _new_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _new_event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]
