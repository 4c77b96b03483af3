"""Where checkpoints are kept: by Ray Train, or in a folder where that runs within the driver."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["kept", "report"]

_LAST, _BEFORE, _NEW = "last", "before", ".new"

Write = Callable[[Path], None]


@contextmanager
def kept(local: Path | None) -> Iterator[Path | None]:
    """Give the last checkpoint's folder, or None.

    Args:
        local: where checkpoints are, if not with Ray Train.
    """
    import ray.train

    if local is not None:
        yield next((local / name for name in (_LAST, _BEFORE) if (local / name).exists()), None)
        return
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        yield None
    else:
        with checkpoint.as_directory() as folder:
            yield Path(folder)


def report(write: Write | None, local: Path | None) -> None:
    """Report a checkpoint; every worker has to.

    Args:
        write: fills its folder; None on all workers but the first.
        local: where checkpoints are, if not with Ray Train, which keeps none within the driver.
    """
    import ray.train

    if write is None:
        ray.train.report({})
    elif local is not None:
        ray.train.report({}, checkpoint=_swap(write, local))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _swap(write: Write, local: Path) -> Any:
    """Replace the last checkpoint; at any moment there is a whole one."""
    import ray.train

    new, last, before = local / _NEW, local / _LAST, local / _BEFORE
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    write(new)
    if last.exists():
        shutil.rmtree(before, ignore_errors=True)
        last.rename(before)
    new.rename(last)
    return ray.train.Checkpoint.from_directory(str(last))
