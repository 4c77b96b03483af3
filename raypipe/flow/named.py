"""Checks of what options name, made before torch and Ray are imported, which takes seconds."""

from __future__ import annotations

import errno
import os

from raypipe.config import BackboneConfig
from raypipe.config.types import CHECKPOINT_FILES, KERAS_FILES
from raypipe.errors import UsageError
from raypipe.images.preprocessing import given_colour
from raypipe.storage import Storage, check_not_within, user_path
from raypipe.store.identity import check_no_result


def check_named(config: BackboneConfig) -> None:
    """Make sure that a network's files are there, as far as one knows that files are meant.

    Raises:
        UsageError: one is not, or options contradict each other.
    """
    given_colour(config)
    if config.weights.lower().endswith((*CHECKPOINT_FILES, *KERAS_FILES)):
        path = user_path(config.weights, "--weights")
        if not path.is_file():
            raise UsageError(f"--weights: no file at {str(path)!r}")
    code = config.backbone.rpartition(":")[0]
    if code.endswith(".py") and not (path := user_path(code, "--backbone")).is_file():
        raise UsageError(f"--backbone: no file at {str(path)!r}")


def check_place(storage: Storage) -> None:
    """Make sure that a store could be written, as far as can be told without writing.

    Raises:
        UsageError: something else is there, it lies inside a result, or it is not allowed.
    """
    check_not_within(storage.uri)
    if (folder := storage.folder) is None:
        return
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise UsageError(f"--out: {str(there)!r} is a file; give a folder")
    check_no_result(storage)
    if not os.access(there, os.W_OK):
        is_read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        why = os.strerror(errno.EROFS) if is_read_only else "no permission"
        raise UsageError(f"--out: cannot write to {str(folder)!r}: {why}; give another folder")
