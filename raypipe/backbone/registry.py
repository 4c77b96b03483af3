"""Backbones by name: torchvision's, timm's, and your own callables."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from raypipe.errors import UsageError, nearest
from raypipe.storage import user_path

_FORMS = "a torchvision model, timm/NAME, package.module:callable or file.py:callable"


@dataclass(frozen=True)
class BackboneSource:
    """How to build a network, on any machine.

    Attributes:
        kind: where `target` is looked up.
        target: name in the library, or `file.py:callable` / `package.module:callable`.
        name: the canonical name that goes into the spec, free of folders.
        code: the file's text, so that replicas on other machines need no copy of the file.
        sha256: checksum of the source file, where it is the user's own.
    """

    kind: Literal["torchvision", "timm", "file", "module"]
    target: str
    name: str
    code: str | None = None
    sha256: str | None = None


def find(name: str) -> BackboneSource:
    """Return the source of the backbone that a name means.

    Raises:
        UsageError: there is none; the nearest names are suggested.
    """
    if ".py:" in name:
        return _find_file(name)
    if ":" in name:
        return _find_module(name)
    if name.startswith("timm/"):
        return _find_timm(name)
    models = _torchvision_models()
    known = models.list_models(module=models)
    if name.lower() not in known:
        raise UsageError(
            f"--backbone: unknown backbone {name!r}; give {_FORMS}{nearest(name.lower(), known)}"
        )
    return BackboneSource("torchvision", name.lower(), f"torchvision/{name.lower()}")


def build(source: BackboneSource, *, blank: bool = False) -> nn.Module:
    """Build the full network, in evaluation mode, with whatever weights its constructor gives.

    Args:
        source: what `find` returned.
        blank: weights will be assigned, so no time or memory need be spent on initial ones.

    Raises:
        UsageError: the callable is missing or fails.
    """
    model: object
    if source.kind == "torchvision":
        model = _build_torchvision(source.target, blank=blank)
    elif source.kind == "timm":
        model = _build_timm(source.target)
    else:
        model = _call(source)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"--backbone: {source.name} must return a torch.nn.Module; got {type(model).__name__}"
        )
    return model.eval()


def prepare_import(source: BackboneSource) -> None:
    """Make the network's own code importable in this process, where it is the user's."""
    if source.kind in ("file", "module"):
        _lookup(source)


def _build_torchvision(name: str, *, blank: bool) -> nn.Module:
    # These two would otherwise spend a minute on an initialisation that the weights replace.
    slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if blank:
        # RegNets compute their own widths with tensors, which have no values then.
        with torch.device("meta"), contextlib.suppress(NotImplementedError):
            model: nn.Module = _torchvision_models().get_model(name, weights=None, **slow)
            if not any(module._non_persistent_buffers_set for module in model.modules()):
                return model  # otherwise it holds values that no weights file brings
    built: nn.Module = _torchvision_models().get_model(name, weights=None, **slow)
    return built


def _build_timm(name: str) -> object:
    try:
        model: object = _timm().create_model(name, pretrained=False)
    except RuntimeError as error:
        raise UsageError(f"--backbone: timm cannot build {name!r}: {error}") from None
    return model


def _find_file(name: str) -> BackboneSource:
    file, _, function = name.rpartition(":")
    path = user_path(file, "--backbone")
    try:
        code = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--backbone: cannot read {str(path)!r}: {error}") from None
    checksum = hashlib.sha256(code.encode()).hexdigest()
    source = BackboneSource(
        "file", f"{path}:{function}", f"{path.name}:{function}", code=code, sha256=checksum
    )
    _lookup(source)
    return source


def _find_module(name: str) -> BackboneSource:
    function: object = _lookup(BackboneSource("module", name, name))
    while isinstance(function, functools.partial):
        function = function.func
    where = getattr(function, "__module__", None) or name.rpartition(":")[0]
    file = getattr(sys.modules.get(where), "__file__", None)
    checksum = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    return BackboneSource("module", name, name, sha256=checksum)


def _find_timm(name: str) -> BackboneSource:
    target = name.removeprefix("timm/")
    known = _timm().list_models()
    if target.split(".")[0] not in known:
        hint = nearest(target, known)
        raise UsageError(f"--backbone: timm has no model {target!r}{hint}")
    return BackboneSource("timm", target, name)


def _torchvision_models() -> types.ModuleType:
    return importlib.import_module("torchvision.models")


def _timm() -> types.ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise UsageError(
            "--backbone: timm/… needs the timm package; pip install 'raypipe-features[timm]'"
        ) from None


def _lookup(source: BackboneSource) -> Callable[[], nn.Module]:
    where, _, function = source.target.rpartition(":")
    module = _run_file(source, where) if source.kind == "file" else _import(where)
    found = getattr(module, function, None)
    if not callable(found):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        hint = nearest(function, names) or f"; it has {', '.join(sorted(names)) or 'none'}"
        raise UsageError(f"--backbone: no callable {function!r} in {where}{hint}")
    return found  # type: ignore[no-any-return]


def _run_file(source: BackboneSource, path: str) -> types.ModuleType:
    """Execute the file's text as a module, registered so that its classes can be pickled."""
    name = f"raypipe_backbone_{(source.sha256 or '')[:12]}"
    if name in sys.modules:
        return sys.modules[name]  # what is pickled by name has to be the very same
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(source.code or "", path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(
            f"--backbone: {path} fails: {type(error).__name__}: {error}; the file has to stand "
            "alone (it is sent to other machines), or give package.module:callable"
        ) from None
    return module


def _import(name: str) -> types.ModuleType:
    with contextlib.suppress(ValueError):
        sys.path.remove("")
    sys.path.insert(0, "")  # as `python -m` does: modules beside the user are found
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(
            f"--backbone: cannot import {name!r}: {type(error).__name__}: {error}"
        ) from None
    finally:
        sys.path.remove("")


def _call(source: BackboneSource) -> object:
    try:
        return _lookup(source)()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"--backbone: {source.name}() fails: {type(error).__name__}: {error}; "
            "it must build the network without arguments"
        ) from None
