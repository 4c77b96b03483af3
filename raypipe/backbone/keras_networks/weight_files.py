"""What Keras saves, as layers with their arrays: `.keras`, `.weights.h5` and `.h5`.

Keras 3 writes `SCOPE/layers/KIND_N/vars/0`, and into `vars` the layer's name if it is new enough.
Before, there was a group for each layer, whose attribute `weight_names` has its arrays in order.

https://github.com/keras-team/keras/blob/v3.3.3/keras/src/saving/saving_lib.py
https://github.com/keras-team/keras/blob/v3.3.3/keras/src/legacy/saving/legacy_h5_format.py
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from raypipe.config.types import KERAS_FILES

FILE_TYPES = KERAS_FILES

_INSIDE = "model.weights.h5"
#: Keras 2.13 has another word for `layers`.
_PATH = re.compile(
    r"(?:(?P<scope>.+)/)?(?:layers|_layer_checkpoint_dependencies)"
    r"/(?P<kind>\w+?)(?:_(?P<number>\d+))?/vars/(?P<index>\d+)"
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file.

    Attributes:
        scope: where its network is in the file; empty for the file's own.
        name: of the layer, where the file has it.
        kind: of the layer, where it is numbered among those of its kind only.
        arrays: its weights, in the order in which Keras has them.
    """

    scope: str
    name: str | None
    kind: str | None
    arrays: tuple[Array, ...]


def read_layers(data: bytes) -> list[StoredLayer]:
    """Return the layers with weights in a file, in its order; of one kind, where it has no other.

    Raises:
        ValueError: it is none that Keras saves weights in.
        Exception: it is damaged.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if _INSIDE not in archive.namelist():
                raise ValueError(f"it is a zip archive without {_INSIDE}, which model.save makes")
            data = archive.read(_INSIDE)
    if not data.startswith(b"\x89HDF"):
        raise ValueError("it is neither HDF5 nor a .keras archive")
    with h5py.File(io.BytesIO(data)) as file:
        root = file.get("model_weights", file)
        named = _names(root, "layer_names")
        found = list(_by_name(root, named) if named is not None else _by_kind(file))
    if not found:
        raise ValueError("it holds no layers with weights; save with model.save_weights")
    return found


def _by_kind(file: Any) -> Iterator[StoredLayer]:
    arrays: dict[tuple[str, str, int], dict[int, Array]] = {}
    names: dict[tuple[str, str, int], str | None] = {}
    for path, dataset in _datasets(file).items():
        found = _PATH.fullmatch(path)
        if found:
            key = (found["scope"] or "", found["kind"], int(found["number"] or 0))
            arrays.setdefault(key, {})[int(found["index"])] = _values(dataset)
            names[key] = _text(dataset.parent.attrs.get("name"))
    for key in sorted(arrays):
        scope, kind, _ = key
        ordered = tuple(array for _, array in sorted(arrays[key].items()))
        yield StoredLayer(scope, names[key], kind, ordered)


def _by_name(root: Any, layers: list[str]) -> Iterator[StoredLayer]:
    """Read a group for each layer; that of a network within the network has the layers of that."""
    datasets = _datasets(root)
    for group in layers:
        own: dict[tuple[str, str], list[Array]] = {}
        for path in _names(root[group], "weight_names") or ():
            layer = path.rpartition("/")[0].rpartition("/")[2] or group
            own.setdefault(("", group), []).append(_values(datasets[f"{group}/{path}"]))
            own.setdefault((group, layer), []).append(own["", group][-1])
        within = [key for key in own if key[0]]
        several = len(within) > 1
        for scope, name in within if several else [("", group)] if own else ():
            yield StoredLayer(scope, name, None, tuple(own[scope, name]))


def _datasets(root: Any) -> dict[str, Any]:
    """Return what a file itself holds, by path; links, which may lead to others, are left out."""
    found: dict[str, Any] = {}

    def keep(path: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not (node.is_virtual or node.external):
            found[path] = node

    root.visititems(keep)
    return found


def _names(group: Any, attribute: str) -> list[str] | None:
    """Return a list of names; long ones are in several attributes, `layer_names0` and on."""
    if attribute in group.attrs:
        return [_text(name) or "" for name in group.attrs[attribute]]
    parts: list[str] = []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    return [_text(name) or "" for part in parts for name in group.attrs[part]] if parts else None


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value if value is None else str(value)


def _values(dataset: Any) -> Array:
    values = np.asarray(dataset)
    if dataset.attrs.get("dtype") == "bfloat16":  # HDF5 has no such type: these are its two bytes
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return values
