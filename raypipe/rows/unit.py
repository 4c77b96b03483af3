"""Units of work: fixed runs of items."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

from raypipe import schema
from raypipe.rows.listing import _COMPRESSED
from raypipe.spec import digest


@dataclass(frozen=True)
class Unit:
    """A fixed run of items: the atom of work, of retry and of commit.

    `data` holds the items as a compressed Arrow stream: about a tenth of what they take in memory.
    `batch` is the number of the listed batch they come from, where units follow batches, else −1.
    """

    id: str
    count: int
    data: bytes
    batch: int = -1

    @property
    def items(self) -> pa.Table:
        """The items, of `schema.ITEMS`."""
        return pa.ipc.open_stream(self.data).read_all()


def _unit(items: pa.Table, fingerprint: str, batch: int = -1) -> Unit:
    identity = json.dumps([items[name].to_pylist() for name in schema.VERSION_COLUMNS])
    return Unit(digest(fingerprint, identity)[:32], len(items), pack_items(items), batch)


def pack_items(items: pa.Table) -> bytes:
    """Return items as a unit holds them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, items.schema, options=_COMPRESSED) as stream:
        stream.write_table(items.combine_chunks())
    return bytes(sink.getvalue())
