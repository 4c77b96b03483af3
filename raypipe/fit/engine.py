"""Choice of the engine: scikit-learn on features in memory, or shards on Ray."""

from __future__ import annotations

from math import prod
from typing import Literal

from raypipe import memory
from raypipe.config import EngineConfig
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.heads.head import Channels, Spatial

Engine = Literal["sklearn", "ray"]

#: Copies of the features there are at most at one time: as read; the training rows; those of a
#: fold, plain and scaled; and what an estimator makes of them (float64 for the svm).
_COPIES = 5
#: Copies while a store is read: in its order, and sorted by id.
_COPIES_READING = 2
#: Heads that can be fitted without all features in memory.
_OUT_OF_CORE = ("logistic", "mlp")
_BYTES = 4
_LARGE = 2**30


def check_engine_options(config: EngineConfig) -> None:
    """Make sure that nothing is asked of scikit-learn that only shards have.

    Raises:
        UsageError: an option of the ray engine beside --engine sklearn.
    """
    for name in ("actors", "actor_memory", "resume"):
        if config.engine == "sklearn" and name in config.model_fields_set:
            raise UsageError(
                f"--{name.replace('_', '-')} is for shards on Ray; it does not go with "
                "--engine sklearn"
            )


def choose_engine(
    asked: Literal["auto", "sklearn", "ray"], *, rows: int, width: int, only_ray: str | None = None
) -> Engine:
    """Return the engine; say which and why.

    Args:
        asked: what the user wants.
        rows: rows of the store.
        width: values in a row.
        only_ray: an option that scikit-learn has nothing for, as `--distance cosine`.

    Raises:
        UsageError: scikit-learn is asked for together with such an option.
    """
    size, there = 4 * rows * width, memory.available()
    about = f"{rows} rows of {width} values ({memory.readable(size)})"
    if asked != "auto":
        if asked == "sklearn" and only_ray:
            raise UsageError(f"--engine sklearn has no {only_ray}; give --engine ray or auto")
        say(f"fitting with --engine {asked}, as asked: {about}")
        return asked
    if only_ray:
        say(f"fitting on Ray, which has {only_ray}: {about}")
        return "ray"
    fit = _COPIES * size <= there
    engine: Engine = "sklearn" if fit else "ray"
    where = "in memory, with scikit-learn" if fit else "on Ray, in shards"
    say(
        f"fitting {where}: {about}; in memory they take {memory.readable(_COPIES * size)}, of "
        f"{memory.readable(there)} that are free"
    )
    return engine


def check_memory(
    head: str, rows: int, shape: tuple[int, ...], spatial: Spatial, channels: Channels
) -> None:
    """Make sure, before they are read, that the features fit in memory five times over.

    Args:
        head: kind of head; those that need not have all in memory always pass.
        rows: of the store's snapshot.
        shape: of one row's features.
        spatial: what becomes of them; with `average`, only what is left is copied so often.
        channels: which axis is left then.

    Raises:
        UsageError: they do not; what is needed, what there is, and which heads need less.
    """
    if head in _OUT_OF_CORE:
        return
    width = prod(shape)
    needed = rows * width * _BYTES * _COPIES
    if spatial == "average" and len(shape) > 1:
        left = shape[-1] if channels == "last" else shape[0]
        needed = rows * _BYTES * (width * _COPIES_READING + left * _COPIES)
    if needed > (there := memory.available()):
        raise UsageError(
            f"--head {head}: {rows} rows of {width} values need about {memory.readable(needed)} of "
            f"memory; {memory.readable(there)} are available; give --head logistic or --head mlp, "
            "which can go through the features in pieces"
        )


def large_model(head: str, rows: int, width: int) -> str | None:
    """Return a warning if the model will be larger than 1 GiB: knn keeps every training row."""
    size = rows * width * _BYTES
    if head != "knn" or size <= _LARGE:
        return None
    return (
        f"warning: --head knn keeps all {rows} training rows, so that the model takes "
        f"{memory.readable(size)}, on disk and wherever it predicts"
    )
