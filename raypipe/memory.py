"""Memory there is to use, within the limits a container or a job has set."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

#: Where each version of control groups says what is allowed, used, and given back on demand.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")

#: Options of mallopt(3): what is allocated as a mapping of its own (32 MiB is the most that glibc
#: takes), how much may stay at the end of the heap, and how much more than is needed is taken. The
#: last one is for threads, whose heaps come in pieces of 64 MiB: a piece that is free is given back
#: unless there is less room than that in front of it.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_FREED = {
    _M_MMAP_THRESHOLD: 32 * 2**20,
    _M_TRIM_THRESHOLD: 2**31 - 1,
    _M_TOP_PAD: 64 * 2**20,
}


def available(root: Path = Path("/")) -> int:
    """Return how many bytes can be taken without swapping: of the machine and of control groups.

    Args:
        root: where /proc and /sys are.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_left_in_groups(root)]))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory does not suffice, on the host or on a GPU.

    Torch's allocator on the host raises a plain RuntimeError.
    """
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def keep_freed() -> None:
    """Let glibc's allocator keep what is freed, instead of giving it back to the system each time.

    A network allocates and frees the same megabytes for every batch. Each time, the system would
    hand out new pages and clear them: on MobileNet v1 with batches of 32, half of the time. Does
    nothing where there is no glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL("libc.so.6").mallopt
        for option, value in _KEEP_FREED.items():
            set_option(option, value)


def readable(size: float) -> str:
    """Return a number of bytes as people write it: `3.2 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left in this process's group and in those around it, where there is a limit."""
    for version, folder in _groups(root):
        limit, usage, cache = _FILES[version]
        # "max" is no number, and a group without a limit, or out of sight, has no such file
        with contextlib.suppress(OSError, ValueError):
            allowed = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            yield allowed - used + _statistic(folder / "memory.stat", cache)


def _groups(root: Path) -> Iterator[tuple[int, Path]]:
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            version, base = (1, "sys/fs/cgroup/memory") if controllers else (2, "sys/fs/cgroup")
            group = PurePosixPath(path.lstrip("/"))
            for name in dict.fromkeys([group, *group.parents]):
                yield version, root / base / name


def _statistic(path: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(dict(line.split() for line in path.read_text().splitlines()).get(name, 0))
    return 0
