"""The pictures of a page: each image once, small, the first ones large as well, and no more of
them than there is room for.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, zip_longest
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from raypipe.errors import RejectedItem
from raypipe.images.decoding_process import DecodingProcess
from raypipe.reports.thumbnails import SIDE, remains, thumbnail

_THREADS = 8
_TOGETHER = 64
_QUALITY = 70
#: Images of a page that can be looked at large: at most so many, so wide and high, at this quality
#: of JPEG, which is a third larger than WebP, and made in a tenth of the time.
FEATURED, LARGE_SIDE, _LARGE_QUALITY = 150, 512, 60
#: Of the room, what small pictures leave to large ones.
_FOR_LARGE = 0.45
#: A rejected image may take.
_SECONDS = 5.0


class Album:
    """Pictures by URI.

    Args:
        room: bytes that the pictures may take, as they stand in the page.

    Attributes:
        pictures: data URIs; the place in this list is an image's key.
        links: where each one's file is, for a browser; None where it is no file of its own.
        large: data URIs by key; None if the small picture is the whole image.
        unread: the first image that could not be read; None if all could.
    """

    def __init__(self, room: int) -> None:
        self.pictures: list[str] = []
        self.links: list[str | None] = []
        self.large: dict[int, str | None] = {}
        self.unread: str | None = None
        self._for_large = int(room * _FOR_LARGE)
        self._room = room - self._for_large
        self._floor = 0.0
        self._keys: dict[str, int | None] = {}
        self._of_parts: list[list[str]] = [[]]

    @contextlib.contextmanager
    def share(self, share: float) -> Iterator[None]:
        """Leave no more than a share of the room to what is added meanwhile: a part's pictures."""
        before, self._floor = self._floor, self._room * (1 - share)
        self._of_parts.append([])
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
                pictures = list(pool.map(_small, some))
                for uri, picture in zip(some, pictures, strict=True):
                    if self._room <= least:
                        return
                    self._put(uri, picture)
                    if picture:
                        self._of_parts[-1].append(uri)
                    else:
                        self.unread = self.unread or uri
                if not any(pictures):
                    return

    def add_remains(self, uris: Iterable[str]) -> None:
        """Read what can still be seen of rejected images, which may end the process they are in."""
        with DecodingProcess(_SECONDS) as apart:
            for uri in dict.fromkeys(uris):
                if uri not in self._keys and self._room > self._floor:
                    try:
                        left = apart(remains, uri)
                        self._put(uri, _as_text(left) if left else None)
                    except RejectedItem:
                        self._put(uri, None)

    def enlarge(self) -> None:
        """Read the first images of each part again, large, into the room that is left."""
        self._room += self._for_large
        in_turn = filter(None, chain.from_iterable(zip_longest(*self._of_parts)))
        chosen = list(islice(in_turn, FEATURED))
        with ThreadPoolExecutor(_THREADS) as pool:
            for uri, picture in zip(chosen, pool.map(_large, chosen), strict=True):
                key = self._keys[uri]
                if key is not None and picture is not None and len(picture) <= self._room:
                    self._room -= len(picture)
                    self.large[key] = picture or None

    def key(self, uri: str | None) -> int | None:
        """Return an image's place in `pictures`; None if it is not there."""
        return self._keys.get(uri) if uri is not None else None

    def _put(self, uri: str, picture: str | None) -> None:
        self._keys[uri] = None
        if picture is None:
            return
        self._room -= len(picture)
        self._keys[uri] = len(self.pictures)
        self.pictures.append(picture)
        self.links.append(_link(uri))


def _small(uri: str) -> str | None:
    image = thumbnail(uri)
    return None if image is None else _as_text(image)


def _large(uri: str) -> str | None:
    """Return a picture as it stands in the page, empty if it would be no larger than the small one;
    None if the image cannot be read any more.
    """
    if (image := thumbnail(uri, LARGE_SIDE)) is None:
        return None
    return _as_text(image, "jpeg", _LARGE_QUALITY) if max(image.size) > SIDE else ""


def _as_text(image: Image.Image, form: str = "webp", quality: int = _QUALITY) -> str:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _link(uri: str) -> str | None:
    """Return where a browser finds an image's file; None if it lies within another one.

    Addresses with a user or a query are left out: these may be secrets, and a page is passed on.
    """
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        return None if parts.query or "@" in parts.netloc else uri
    if uri.startswith("file://"):
        return uri
    return Path(uri).as_uri() if uri.startswith("/") else None


def _runs(count: int) -> Iterator[tuple[int, int]]:
    """Yield where runs of images begin and end: a short one first."""
    start, end = 0, _THREADS
    while start < count:
        yield start, end
        start, end = end, end + _TOGETHER
