"""Choice of the engine: scikit-learn on features in memory, or shards on Ray."""

from __future__ import annotations

from typing import Literal

from raypipe import memory
from raypipe.config import EngineConfig
from raypipe.errors import UsageError

Engine = Literal["sklearn", "ray"]

#: Copies of the features that fitting with scikit-learn makes: as read, sorted, the training rows,
#: scaled, and those of a fold.
_COPIES = 5


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
) -> tuple[Engine, str]:
    """Return the engine, and a line that says which and why.

    Args:
        asked: what the user wants.
        rows: rows of the store.
        width: values in a row.
        only_ray: an option that scikit-learn has nothing for, as `--distance cosine`.

    Raises:
        UsageError: scikit-learn is asked for together with such an option.
    """
    size, there = 4 * rows * width, memory.available()
    about = f"{rows} rows of {width} values, {memory.readable(size)}"
    if asked != "auto":
        if asked == "sklearn" and only_ray:
            raise UsageError(f"--engine sklearn has no {only_ray}; give --engine ray or auto")
        return asked, f"engine {asked} as asked: {about}"
    if only_ray:
        return "ray", f"engine ray, which has {only_ray}: {about}"
    needed = f"{_COPIES} copies need {memory.readable(_COPIES * size)}"
    have = f"{memory.readable(there)} of memory are free"
    if _COPIES * size > there:
        return "ray", f"engine ray: {about}; {needed}, but {have}"
    return "sklearn", f"engine sklearn: {about}; {needed}, and {have}"
