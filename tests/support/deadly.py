"""A decoder of one's own, which does to its process what an image says."""

from __future__ import annotations

import os
import signal
import time

from PIL import Image


def decode(data: bytes, max_pixels: int) -> Image.Image | None:
    """Return None for what is somebody else's; the rest ends the process."""
    what = data[8:].split(b"\n")[0] if data.startswith(b"DEADLY: ") else b""
    if what == b"dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == b"hangs":
        time.sleep(600)
    if what == b"grows":
        held = []
        while True:
            held.append(bytearray(b"x") * 2**25)
    return None
