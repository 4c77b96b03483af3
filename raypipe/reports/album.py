"""The pictures of a page: each image once, small, and no more of them than there is room for."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from raypipe.errors import RejectedItem
from raypipe.images.decoding_process import DecodingProcess
from raypipe.reports.thumbnails import remains, thumbnail

_THREADS = 8
_TOGETHER = 64
_QUALITY = 70
#: A rejected image may take.
_SECONDS = 5.0


class Album:
    """Thumbnails by URI.

    Args:
        room: bytes that the pictures may take, as they stand in the page.

    Attributes:
        pictures: data URIs; the place in this list is an image's key.
    """

    def __init__(self, room: int) -> None:
        self.pictures: list[str] = []
        self._room = room
        self._floor = 0.0
        self._keys: dict[str, int | None] = {}

    @contextlib.contextmanager
    def share(self, share: float) -> Iterator[None]:
        """Leave no more than a share of the room to what is added meanwhile."""
        before, self._floor = self._floor, self._room * (1 - share)
        yield
        self._floor = before

    def add(self, uris: Iterable[str], share: float = 1.0) -> None:
        """Read images, the first ones first, as long as there is room.

        Where none of the first few can be read, their source has moved or does not answer, and it
        would take long to find that out for each of them.

        Args:
            uris: of the images.
            share: of the room that is left which they may take together.
        """
        wanted = [uri for uri in dict.fromkeys(uris) if uri not in self._keys]
        least = self._floor + (self._room - self._floor) * (1 - share)
        with ThreadPoolExecutor(_THREADS) as pool:
            for start, end in _runs(len(wanted)):
                some = wanted[start:end]
                images = list(pool.map(thumbnail, some))
                for uri, image in zip(some, images, strict=True):
                    if self._room <= least:
                        return
                    self._put(uri, image)
                if not any(images):
                    return

    def add_remains(self, uris: Iterable[str]) -> None:
        """Read what can still be seen of rejected images, which may end the process they are in."""
        with DecodingProcess(_SECONDS) as apart:
            for uri in dict.fromkeys(uris):
                if uri not in self._keys and self._room > self._floor:
                    try:
                        self._put(uri, apart(remains, uri))
                    except RejectedItem:
                        self._put(uri, None)

    def key(self, uri: str | None) -> int | None:
        """Return an image's place in `pictures`; None if it is not there."""
        return self._keys.get(uri) if uri is not None else None

    def _put(self, uri: str, image: Image.Image | None) -> None:
        self._keys[uri] = None
        if image is None:
            return
        buffer = io.BytesIO()
        image.save(buffer, "webp", quality=_QUALITY)
        text = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        self._room -= len(text)
        self._keys[uri] = len(self.pictures)
        self.pictures.append(text)


def _runs(count: int) -> Iterator[tuple[int, int]]:
    """Yield where runs of images begin and end: a short one first."""
    start, end = 0, _THREADS
    while start < count:
        yield start, end
        start, end = end, end + _TOGETHER
