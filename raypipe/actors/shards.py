"""Hold feature shards for iterative fits, and compute sums over their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import torch

from raypipe.actors.shard_plan import Loaded, ShardPlan
from raypipe.fit.steps import STEPS
from raypipe.fit.sums import COMBINE, Partials, reduce_tree
from raypipe.heads import Scaling
from raypipe.memory import available
from raypipe.store.cache import RowCache, flatten
from raypipe.store.reader import StoreReader

Array = npt.NDArray[Any]

_BLOCK_BYTES = 2**23
#: Memory besides the rows: a partition's piece being decoded, blocks and scores.
_WORKING_BYTES = 3 * 2**27
#: Share of the free memory that rows may take where no limit is given.
_SHARE = 0.7


class Shards:
    """Holds shards and runs the steps of `fit.steps` on them. Needs no Ray.

    Nothing is read before the first use, and what has been read can be read again: a copy of this
    made from the same arguments gives the same results.

    Args:
        uri: the store.
        snapshot: its snapshot's number.
        column: the feature column.
        plans: the shards to hold.
        count: number of shards there are in all.
        memory: bytes this process may take in all; None takes its share of what is free.
        sharing: processes that share this machine's free memory, where `memory` is None.
        to_rows: makes (N, D) of (N, …) features.
        device: torch device: `cpu`, `cuda`.
        threads: CPU threads; None leaves torch's setting.
    """

    def __init__(
        self,
        uri: str,
        snapshot: int,
        column: str,
        plans: Sequence[ShardPlan],
        count: int,
        *,
        memory: int | None = None,
        sharing: int = 1,
        to_rows: Callable[[Array], Array] = flatten,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.place = uri, snapshot, column
        self.plans = plans
        self.count = count
        self.memory, self.sharing = memory, sharing
        self.to_rows = to_rows
        self.device = torch.device(device)
        self._shards: list[_Shard] = []

    def load(self) -> list[tuple[int, Loaded]]:
        """Read the shards, unless that has been done; return for each number what became of it."""
        if not self._shards:
            free = self._free()
            for plan in self.plans:
                shard = _Shard(self.place, plan, free, self.to_rows, self.device)
                free -= shard.loaded.in_memory
                self._shards.append(shard)
                pa.default_memory_pool().release_unused()  # what decoding took
        return [(shard.number, shard.loaded) for shard in self._shards]

    def total(self, step: str, *arguments: Any) -> Partials:
        """Run a step on each shard; return the results added up as far as they can be here."""
        return reduce_tree(
            {(0, number): value for number, value in self.each(step, *arguments)},
            self.count,
            COMBINE[step],
        )

    def each(self, step: str, *arguments: Any) -> list[tuple[int, Any]]:
        """Run a step on each shard; return the results with the shards' numbers."""
        self.load()
        with torch.inference_mode():
            return [(s.number, STEPS[step](s, *arguments)) for s in self._shards]

    def _free(self) -> int:
        """Bytes that rows may take in memory."""
        if self.memory is None:
            return int(_SHARE * available() / self.sharing)
        taken = int(psutil.Process().memory_info().rss) + _WORKING_BYTES
        return max(0, self.memory - taken)


class _Shard:
    """One shard's rows, scaled as asked: in place where they are in memory as float32."""

    def __init__(
        self,
        place: tuple[str, int, str],
        plan: ShardPlan,
        memory: int,
        to_rows: Callable[[Array], Array],
        device: torch.device,
    ) -> None:
        self.number, self.first, self.device = plan.number, plan.first, device
        self._place, self._plan, self._memory, self._to_rows = place, plan, memory, to_rows
        self._cache = self._read()
        self._applied: Scaling | None = None
        self.memo: dict[str, Any] = {}
        codes = np.concatenate(plan.codes)[self._cache.order] if plan.codes else np.empty(0)
        self._codes = torch.from_numpy(codes.astype(np.int64)).to(device)
        self._on_device = self._to_device()

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        return self._cache.starts

    @property
    def loaded(self) -> Loaded:
        cache = self._cache
        size = len(cache) * cache.width * cache.dtype.itemsize
        here = cache.array is not None or self._on_device is not None
        held, filed = (size, 0) if here else (0, size)
        return Loaded(cache.width, held, filed)

    def __len__(self) -> int:
        return len(self._cache)

    def blocks(
        self, scaling: Scaling | None, group: int | None = None
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield places and scaled float32 rows of one group, or of all."""
        ready = self._scale_in_place(scaling)
        start, end = (0, len(self)) if group is None else map(int, self.starts[group : group + 2])
        length = max(1024, _BLOCK_BYTES // (4 * max(1, self._cache.width)) // 1024 * 1024)
        for at in range(start, end, length):
            here = slice(at, min(at + length, end))
            self._cache.expect(here.stop, min(here.stop + length, end))
            x = self._tensor(here)
            yield here, x if ready or scaling is None else scaling.apply(x)

    def codes(self, rows: slice) -> torch.Tensor:
        """Return class numbers."""
        return self._codes[rows]

    def take(self, rows: Array, scaling: Scaling | None) -> torch.Tensor:
        """Return some rows, scaled."""
        ready = self._scale_in_place(scaling)
        if not len(rows):
            return torch.empty(0, self._cache.width, device=self.device)
        if self._cache.array is not None:
            x = torch.from_numpy(self._cache.array[rows]).to(self.device).float()
        elif self._on_device is not None:
            x = self._on_device[torch.from_numpy(rows).to(self.device)].float()
        else:
            x = torch.cat([self._tensor(slice(row, row + 1)) for row in rows.tolist()])
        return x if ready or scaling is None else scaling.apply(x)

    def _read(self) -> RowCache:
        uri, snapshot, column = self._place
        return RowCache(
            StoreReader(uri, snapshot),
            column,
            self._plan.parts,
            self._plan.groups,
            memory=self._memory,
            group_count=self._plan.group_count,
            to_rows=self._to_rows,
        )

    def _tensor(self, rows: slice) -> torch.Tensor:
        if self._on_device is not None:
            return self._on_device[rows].float()
        return torch.from_numpy(self._cache.read(rows.start, rows.stop)).to(self.device).float()

    def _to_device(self) -> torch.Tensor | None:
        """Keep the rows on the GPU while they take less than half of what is free there."""
        array = self._cache.array
        if self.device.type != "cuda" or array is None:
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if array.nbytes > free // 2:
            return None
        moved = torch.from_numpy(array).to(self.device)
        self._cache.array = None
        return moved

    def _scale_in_place(self, scaling: Scaling | None) -> bool:
        """Scale the rows for good if they are float32 in memory; return whether they are now."""
        if scaling is None or scaling.kind == "none":
            if self._applied is not None:
                self._reload()
            return True
        held = self._held()
        if held is None:
            return False
        if self._applied is not None and not _same(self._applied, scaling):
            self._reload()
            held = self._held()
        if self._applied is None and held is not None:
            self._applied = scaling
            for start in range(0, len(held), 4096):
                rows = slice(start, start + 4096)
                held[rows] = scaling.apply(held[rows])
        return True

    def _held(self) -> torch.Tensor | None:
        """Return the rows that can be changed in memory."""
        if self._cache.dtype != np.float32:
            return None
        if self._on_device is not None:
            return self._on_device
        return None if self._cache.array is None else torch.from_numpy(self._cache.array)

    def _reload(self) -> None:
        self._cache.close()
        self._cache, self._applied = self._read(), None
        self._on_device = self._to_device()


def _same(one: Scaling, other: Scaling) -> bool:
    return (
        one.kind == other.kind
        and np.array_equal(one.mean, other.mean)
        and np.array_equal(one.std, other.std)
    )
