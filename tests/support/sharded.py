"""Shards held by several plain objects in this process, for fits without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raypipe import schema
from raypipe.actors.shard_plan import ShardPlan
from raypipe.actors.shards import Shards
from raypipe.fit.sums import COMBINE, reduce_tree
from raypipe.storage import FolderStorage
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store
from raypipe.store.partition import write_unit
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part
from tests.support.stores import items_of, make_spec


def store_of(
    folder: Path, features: np.ndarray, labels: Sequence[str | None] | None = None, parts: int = 7
) -> StoreReader:
    """A store of these rows; ids sort in the rows' order."""
    spec = make_spec(dtype=str(features.dtype))
    storage = FolderStorage(folder)
    create_store(storage, spec, {"source": "test"}, "parquet")
    names = [f"{n:08d}" for n in range(len(features))]
    files = []
    for unit, rows in enumerate(np.array_split(np.arange(len(features)), parts)):
        chosen = [names[row] for row in rows]
        given = {"label": [labels[row] for row in rows]} if labels is not None else {}
        files += write_unit(
            storage,
            f"u{unit:04d}",
            spec.fingerprint,
            items_of(chosen, **given),
            {"features": features[rows]},
            schema.REJECTS.empty_table(),
        )
    publish(storage, spec.fingerprint, tuple(map(Part, files)))
    return StoreReader(storage.uri)


class LocalShards:
    """What `raypipe.actors.shard_pool` does with actors, done with objects."""

    def __init__(
        self,
        store: StoreReader,
        groups: np.ndarray,
        codes: np.ndarray | None = None,
        holders: int = 1,
        group_count: int = 1,
        **options: Any,
    ) -> None:
        lengths = [part.rows for part in store.snapshot.data]
        cuts = np.cumsum(lengths)[:-1]
        by_part = np.split(groups.astype(np.int8), cuts)
        codes_by_part = np.split(codes.astype(np.int32), cuts) if codes is not None else None
        plans, first = [], 0
        for number in range(len(lengths)):
            own = (codes_by_part[number],) if codes_by_part else None
            plans.append(ShardPlan(number, first, (number,), (by_part[number],), group_count, own))
            first += int((by_part[number] >= 0).sum())
        self.count = len(plans)
        self.holders = [
            Shards(
                store.uri,
                store.snapshot.number,
                "features",
                list(held),
                self.count,
                threads=1,
                **options,
            )
            for held in np.array_split(np.array(plans, object), holders)
        ]
        loaded = [one for holder in self.holders for _, one in holder.load()]
        self.width = loaded[0].width
        self.in_memory = sum(one.in_memory for one in loaded)
        self.rows = first

    def total(self, step: str, *arguments: Any) -> Any:
        partials: dict[tuple[int, int], Any] = {}
        for holder in self.holders:
            partials |= holder.total(step, *arguments)
        (result,) = reduce_tree(partials, self.count, COMBINE[step]).values()
        return result

    def each(self, step: str, *arguments: Any) -> list[Any]:
        found = [pair for holder in self.holders for pair in holder.each(step, *arguments)]
        return [value for _, value in sorted(found, key=lambda pair: pair[0])]
