"""A few small pictures of a store's images within a notebook's page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

from PIL import Image

from raypipe import schema
from raypipe.reports.thumbnails import thumbnail
from raypipe.store.reader import StoreReader

#: Pictures of one object; and rows that are looked through for them.
MOST = 8
_LOOKED_THROUGH = 20_000
_REMOTE = ("http://", "https://", "s3://", "gs://")


def pictures(captioned: Iterable[tuple[str, str]]) -> str:
    """Return HTML of the pictures that can still be read, at most `MOST`; it needs no other file.

    Args:
        captioned: captions, and where the images are. Those of servers are left out: a look at an
            object is not to wait for one.
    """
    shown = []
    for caption, uri in list(captioned)[:MOST]:
        image = None if uri.startswith(_REMOTE) else thumbnail(uri)
        if image is not None:
            shown.append(_figure(caption, image))
    return f"<div>{''.join(shown)}</div>" if shown else ""


def some_of_each_label(store: StoreReader) -> list[tuple[str, str]]:
    """Return label and place of an image of each of the first labels; without labels, of some."""
    first: dict[str, tuple[str, str]] = {}
    seen = 0
    for batch in store.iter_batches([schema.ID, schema.URI, schema.LABEL]):
        for name, uri, label in zip(
            *(batch[column].to_pylist() for column in (schema.ID, schema.URI, schema.LABEL)),
            strict=True,
        ):
            first.setdefault(f"label {label}" if label else f"id {name}", (label or name, uri))
            if len(first) == MOST:
                return list(first.values())
        seen += len(batch)
        if seen > _LOOKED_THROUGH:
            break
    return list(first.values())


def _figure(caption: str, image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = escape(caption)
    return (
        "<figure style='display: inline-block; margin: 4px; text-align: center; width: 104px'>"
        f"<img src='data:image/jpeg;base64,{data}' alt='{text}'>"
        f"<figcaption style='overflow-wrap: anywhere'>{text}</figcaption></figure>"
    )
