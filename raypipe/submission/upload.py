"""Upload of what a command needs: this installation's code, and the files it names."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from raypipe.cli.options import read_mapping
from raypipe.config.label_rules import label_path
from raypipe.errors import UsageError
from raypipe.submission.entrypoint import Command

_POSITIONAL = ("recipe", "source", "model", "store", "run", "image")
_READ = (*_POSITIONAL, "config", "backbone", "weights", "label_file", "join", "init", "exclude")
_WRITTEN = "out"
_PLACES = "a bucket (s3://, gs://), or an absolute path that every node sees"
_MIB = 2**20
#: What the job needs and a user's environment may have, too. The rest is left to Ray to check.
_MERGED = (("py_modules", list, "a list"), ("env_vars", dict, "lines of `NAME: value`"))
#: Where Ray is told of plugins, each of which has a field of its own.
_PLUGINS = "RAY_RUNTIME_ENV_PLUGINS"
_EXCLUDED = ["__pycache__", "*.pyc"]
#: Left out by Ray, too.
_NEVER_SENT = (".git", ".venv", "venv", "__pycache__")
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.WARNING)


def runtime_env(
    command: Command, working_dir: str | None, more: str | None, folder: Path
) -> dict[str, Any]:
    """Return the job's runtime environment.

    This project's code goes along, so that what was checked here is what runs there; what it
    imports has to be installed on the cluster.

    Args:
        command: the command to run.
        working_dir: folder to send, if the user names one.
        more: YAML file with more of the environment, if the user has one.
        folder: an empty folder, for the files that the command names.

    Raises:
        UsageError: a file is missing, or cannot be seen by a cluster, or it is too much.
    """
    environment = _read(more) if more else {}
    root = _root(working_dir) if working_dir else Path()
    files = {name: name for name in _files(command, root, sent=working_dir is not None)}
    if command.sent_config is not None and command.given.config_file is not None:
        files[command.sent_config] = str(Path(command.given.config_file).expanduser())
    if working_dir is not None:
        _check_config(command)
        _check_size(_paths(root.resolve()), f"{working_dir!r} holds", "name the rest in .rayignore")
        environment["working_dir"] = str(root)
    elif files:
        sources = map(Path, files.values())
        _check_size(sources, "the command's files have", f"put large ones in {_PLACES}")
        for name, source in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        environment["working_dir"] = str(folder)
    environment.setdefault("excludes", _EXCLUDED)
    modules = [str(Path(__file__).parents[1]), *environment.get("py_modules", [])]
    variables = command.environment | environment.get("env_vars", {})
    return environment | {"py_modules": modules, "env_vars": variables}


def _files(command: Command, root: Path, *, sent: bool) -> Iterator[str]:
    """Yield the relative names of the files that a command reads, and refuse what cannot work."""
    for option, text in command.options():
        if option == _WRITTEN:
            _check_written(text)
        elif option == "label" and text.startswith("file:"):  # in a recipe
            yield from _file("label", label_path(text), root, sent=sent)
        elif option in _READ:
            name = text.rpartition(":")[0] if ".py:" in text else text
            if name.endswith(".py") or option != "backbone":
                yield from _file(option, name, root, sent=sent)
    if command.given.name == "run" and getattr(command.given.config, "out", None) is None:
        raise UsageError(f"--out: a job's own folder is removed after it; give {_PLACES}")


def _check_config(command: Command) -> None:
    if command.sent_config is not None:
        raise UsageError(
            f"--config: beside --working-dir, must be a file of that folder, as seen from it; got "
            f"{command.given.config_file!r}, which is one of this machine"
        )


def _check_written(text: str) -> None:
    if not _is_elsewhere(text):
        raise UsageError(
            f"--out: {text!r} would lie in the job's own folder, which is removed after it; "
            f"give {_PLACES}"
        )


def _file(option: str, name: str, root: Path, *, sent: bool) -> Iterator[str]:
    if _is_elsewhere(name):
        return
    shown = option.upper() if option in _POSITIONAL else f"--{option.replace('_', ' ')}"
    path = root / name
    if sent and ".." not in Path(name).parts and path.exists():
        return  # goes with the working directory
    if path.is_dir() or (option == "source" and not path.exists()):
        raise UsageError(f"{shown}: {name!r} is a place of this machine only; give {_PLACES}")
    if path.is_file():
        if ".." in Path(name).parts or sent:
            raise UsageError(
                f"{shown}: {name!r} lies outside the folder that is sent; "
                "go to a folder above it, or move it"
            )
        yield name
    elif option in ("model", "store", "run"):
        raise UsageError(f"{shown}: there is no {name!r}; give {_PLACES}")


def _is_elsewhere(text: str) -> bool:
    return "://" in text or Path(text).expanduser().is_absolute()


def _root(working_dir: str) -> Path:
    root = Path(working_dir).expanduser()
    if not root.is_dir():
        raise UsageError(f"--working-dir: there is no folder {working_dir!r}")
    return root


def _read(path: str) -> dict[str, Any]:
    found = read_mapping(path, "--runtime-env")
    if "working_dir" in found:
        raise UsageError(f"--runtime-env: {path!r} has a working_dir; give it as --working-dir")
    for name, kind, words in _MERGED:
        if not isinstance(found.get(name, kind()), kind):
            raise UsageError(f"--runtime-env: {name} must be {words}; got {found[name]!r}")
    _check_fields(found)
    return found


def _check_fields(environment: dict[str, Any]) -> None:
    """Refuse misspelled fields: Ray drops what neither it nor a plugin of the cluster knows."""
    from ray.runtime_env import RuntimeEnv

    allowed = {name.lstrip("_") for name in RuntimeEnv.known_fields - RuntimeEnv.extensions_fields}
    unknown = environment.keys() - allowed
    if unknown and _PLUGINS not in os.environ:
        raise UsageError(
            f"--runtime-env: Ray has no field {', '.join(map(repr, sorted(map(str, unknown))))}; "
            f"it has {', '.join(sorted(allowed - {'working_dir'}))}. Where the field is one of a "
            f"plugin of the cluster, set {_PLUGINS} here as it is there"
        )


def _paths(folder: Path, ignored: tuple[Callable[[Path], bool], ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder that Ray would send."""
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    ignored += tuple(get_excludes_from_ignore_files(folder, include_gitignore=True, logger=_QUIET))
    for path in folder.iterdir():
        if path.name in _NEVER_SENT or any(ignore(path) for ignore in ignored):
            continue
        if path.is_dir():
            yield from _paths(path, ignored)
        elif path.is_file():
            yield path


def _check_size(paths: Iterable[Path], what: str, remedy: str) -> None:
    """Stop before a folder of images is packed, which takes long, and refused."""
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    total = 0
    for path in paths:
        total += path.stat().st_size
        if total > GCS_STORAGE_MAX_SIZE:
            raise UsageError(
                f"--working-dir: {what} more than {GCS_STORAGE_MAX_SIZE // _MIB} MiB, which is "
                f"all that Ray sends; {remedy}"
            )
