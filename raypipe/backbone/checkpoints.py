"""Checkpoints: the tensors in a file, and the wrapper and prefix under which a network's are."""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raypipe.config.types import CHECKPOINT_FILES
from raypipe.errors import UsageError
from raypipe.storage import user_path

FILE_TYPES = CHECKPOINT_FILES

_DEEPEST = 6
_LISTED = 4


def is_weights_file(weights: str, types: tuple[str, ...] = FILE_TYPES) -> bool:
    """Whether an option means a file, by its ending; in any case of letters.

    Args:
        weights: the option.
        types: endings in lower case.

    Raises:
        UsageError: it is the path of something else.
    """
    if weights.lower().endswith(types):
        return True
    if "/" in weights or "\\" in weights or user_path(weights, "--weights").is_file():
        raise UsageError(f"--weights: a file's name ends in {', '.join(types)}; got {weights!r}")
    return False


def tensors_in(path: Path, data: bytes) -> dict[str, Tensor]:
    """Return a file's tensors by the path of keys that leads to them.

    Of `{"model": {"conv.weight": …}}`, that path is `model.conv.weight`. Tensors have the shapes
    that they were saved with, as (out, in, height, width) of a convolution.

    Raises:
        Exception: whatever reading a damaged file raises.
    """
    return dict(_tensors(_parse(path, data)))


def read_checkpoint(
    weights: str,
    expected: str | None = None,
    read: Callable[[Path, bytes], dict[str, Tensor]] = tensors_in,
) -> tuple[dict[str, Tensor], str]:
    """Return a file's tensors by name, with the shapes they were saved with, and its checksum.

    Args:
        weights: the file's path.
        expected: the checksum it must have.
        read: what makes tensors, as (out, in), of the file's path and bytes.

    Raises:
        UsageError: there is no such file, it has another checksum, or it holds no tensors.
    """
    path = user_path(weights, "--weights")
    if not path.is_file():
        raise UsageError(f"--weights: no file at {str(path.absolute())!r}")
    data = path.read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    if expected and checksum != expected.lower():
        raise UsageError(f"--weights-sha256: {path} has checksum {checksum}, expected {expected}")
    try:
        tensors = read(path, data)
    except UsageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"--weights: cannot read {path}: {detail}") from None
    if not tensors:
        raise UsageError(f"--weights: {path} holds no tensors by name (a state_dict)")
    return tensors, checksum


def _parse(path: Path, data: bytes) -> Any:
    if path.suffix.lower() == ".safetensors" or _is_safetensors(data):
        from safetensors.torch import load

        return load(data)
    harmless = [argparse.Namespace, *_numpy_scalars()]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            "it is no checkpoint, or it holds pickled code, which is never executed; "
            "save model.state_dict() alone"
        ) from None


def _is_safetensors(data: bytes) -> bool:
    """Whether it begins with the length of a JSON object, and the object."""
    length = int.from_bytes(data[:8], "little")
    return data[8:9] == b"{" and 0 < length <= len(data) - 8


def _numpy_scalars() -> list[Any]:
    """Return what is needed for the numbers that training scripts keep, as the best accuracy."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [scalar, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]


def _tensors(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    for key, value in content.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Tensor):
            yield name, value
        else:
            yield from _tensors(value, name, depth + 1)


def fitting(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, torch.Size],
    weights: str,
    own: Container[str] = (),
) -> dict[str, Tensor]:
    """Return a network's tensors, by the one wrapper and prefix under which all of them fit.

    Args:
        tensors: of `read_checkpoint`.
        needed: shapes of those that the network needs, by name, as (out, in) of a linear layer.
        weights: the option's value, for messages.
        own: names of all of the network's tensors.

    Raises:
        UsageError: they fit under no prefix, or different ones under several.
    """
    prefixes = _prefixes(tensors, needed)
    whole = [prefix for prefix in prefixes if _fits(tensors, needed, prefix)]
    found = _distinct(tensors, needed, whole, own)
    if len(found) > 1:
        raise UsageError(
            f"--weights: {weights} holds tensors of the network {len(found)} times, under "
            f"{_some([prefix or 'no prefix' for prefix in found])}; "
            "save the ones you mean to a file of their own"
        )
    if not found:
        _refuse(tensors, needed, prefixes, weights)
    start = found[0]
    return {n[len(start) :]: value for n, value in tensors.items() if n.startswith(start)}


def _prefixes(tensors: Mapping[str, Tensor], needed: Mapping[str, Any]) -> list[str]:
    """Return what stands in front of the network's names, the most frequent first."""
    counts: dict[str, int] = {}
    leaves: dict[str, list[str]] = {}
    for name in needed:
        leaves.setdefault(name.rpartition(".")[2], []).append(name)
    for path in tensors:
        for name in leaves.get(path.rpartition(".")[2], ()):
            if path == name or path.endswith(f".{name}"):
                start = path[: len(path) - len(name)]
                counts[start] = counts.get(start, 0) + 1
    return sorted(counts, key=lambda start: (-counts[start], len(start)))


def _fits(tensors: Mapping[str, Tensor], needed: Mapping[str, torch.Size], start: str) -> bool:
    return all(
        (value := tensors.get(start + name)) is not None and value.shape == shape
        for name, shape in needed.items()
    )


def _distinct(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, Any],
    prefixes: list[str],
    own: Container[str],
) -> list[str]:
    """Return prefixes with different tensors: a file may hold the same ones twice.

    A part of the network may look like all that is needed of it.
    """
    found: list[str] = []

    def is_part(start: str, of: str) -> bool:
        names = (start.removeprefix(of) + name for name in needed)
        return start != of and start.startswith(of) and any(name in own for name in names)

    prefixes = [p for p in prefixes if not any(is_part(p, q) for q in prefixes)]
    for start in prefixes:
        same = (
            all(torch.equal(tensors[start + name], tensors[known + name]) for name in needed)
            for known in found
        )
        if not any(same):
            found.append(start)
    return found


def _refuse(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, torch.Size],
    prefixes: list[str],
    weights: str,
) -> None:
    start = prefixes[0] if prefixes else ""
    missing = [name for name in needed if start + name not in tensors]
    under = f" under {start.rstrip('.')}" if start else ""
    if missing:
        spare = [name for name in tensors if name.removeprefix(start) not in needed]
        raise UsageError(
            f"--weights: {weights} lacks {len(missing)} of {len(needed)} tensors{under}: "
            f"{_some(missing)}; it has {_some(spare) if spare else 'no others'}"
        )
    wrong = [
        f"{name} {tuple(tensors[start + name].shape)} instead of {tuple(shape)}"
        for name, shape in needed.items()
        if tensors[start + name].shape != shape
    ]
    raise UsageError(f"--weights: {weights} does not fit{under}: {_some(wrong)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED + 1} more" if len(names) >= _LISTED else ""
    return ", ".join(names[: _LISTED - 1]) + more
