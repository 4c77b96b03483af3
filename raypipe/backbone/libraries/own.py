"""Networks of one's own: what a callable in a file or a module returns."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

from torch import nn

from raypipe.backbone.libraries.library import BackboneSource, Library
from raypipe.errors import UsageError, nearest
from raypipe.storage import user_path


class OwnFile(Library):
    """`file.py:callable`; the file's text travels to other machines."""

    kind = "file"
    form = "file.py:callable"

    def owns(self, name: str) -> bool:
        """Whether a name has `.py:` in it."""
        return ".py:" in name

    def find(self, name: str) -> BackboneSource:
        """Return the source of a callable in a file, which is run."""
        path, code, checksum = _read(name)
        function = name.rpartition(":")[2]
        source = BackboneSource(
            self.kind, f"{path}:{function}", f"{path.name}:{function}", code=code, sha256=checksum
        )
        _lookup(source)
        return source

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Call it."""
        del blank
        return _call(source)

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return what the network says, if it is one of timm's or torchvision's."""
        return _prefix_tokens(model, super().prefix_tokens(model))


class OwnModule(Library):
    """`package.module:callable`, importable on every machine."""

    kind = "module"
    form = "package.module:callable"

    def owns(self, name: str) -> bool:
        """Whether a name has a colon in it."""
        return ":" in name

    def find(self, name: str) -> BackboneSource:
        """Return the source of a callable in a module."""
        function: object = _lookup(BackboneSource(self.kind, name, name))
        while isinstance(function, functools.partial):
            function = function.func
        where = getattr(function, "__module__", None) or name.rpartition(":")[0]
        file = getattr(sys.modules.get(where), "__file__", None)
        checksum = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
        return BackboneSource(self.kind, name, name, sha256=checksum)

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Call it."""
        del blank
        return _call(source)

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return what the network says, if it is one of timm's or torchvision's."""
        return _prefix_tokens(model, super().prefix_tokens(model))


def check_code(name: str, sha256: str | None) -> None:
    """Make sure that a file of code is the one that features were made with, without running it.

    Raises:
        UsageError: it is another one. Other libraries' names are not looked at.
    """
    if OwnFile().owns(name) and (now := _read(name)[2]) != sha256:
        raise differs("--backbone", now, sha256)


def differs(option: str, now: str | None, then: str | None) -> UsageError:
    """Return what to raise if features were made with another backbone or other weights."""
    return UsageError(
        f"{option}: not what the features were made with: checksum {now}, expected {then}"
    )


def prepare_import(source: BackboneSource) -> None:
    """Make the network's own code importable in this process, where it is the user's."""
    if source.kind in (OwnFile.kind, OwnModule.kind):
        _lookup(source)


def _read(name: str) -> tuple[Path, str, str]:
    """Return the file of `file.py:callable`, its text, and its checksum."""
    path = user_path(name.rpartition(":")[0], "--backbone")
    try:
        code = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--backbone: cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path, code, hashlib.sha256(code.encode()).hexdigest()


def _prefix_tokens(model: nn.Module, said: int | None) -> int | None:
    if said is not None:
        return said
    torchvision = sys.modules.get("torchvision.models")
    is_vit = torchvision is not None and isinstance(model, torchvision.VisionTransformer)
    return 1 if is_vit else None


def _lookup(source: BackboneSource) -> Callable[[], nn.Module]:
    where, _, function = source.target.rpartition(":")
    module = _run_file(source, where) if source.kind == OwnFile.kind else _import(where)
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
        found = _lookup(source)()
        return getattr(found, "_orig_mod", found)  # of torch.compile
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"--backbone: {source.name}() fails: {type(error).__name__}: {error}; "
            "it must build the network without arguments"
        ) from None
