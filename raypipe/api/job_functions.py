"""Functions of jobs, which take and check options as the commands of the same names do."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from raypipe import config
from raypipe.api.arguments import as_options
from raypipe.cli.options import parameters, resolve
from raypipe.errors import CallError, nearest

if TYPE_CHECKING:
    from raypipe.cli.command import Outcome

_WIDTH = 92

#: Makes what a function returns of the job's outcome.
_Ending = Callable[["Outcome"], Any]


def job_function(ending: _Ending) -> Callable[..., Any]:
    """Make a function of the job of its name; its type checkers see in `raypipe/__init__.pyi`."""
    name = ending.__name__
    model = config.JOBS[name]
    signature = inspect.Signature(parameters(model))

    @functools.wraps(ending)
    def function(*places: Any, **options: Any) -> Any:
        resolved = resolve(model, _given(name, places, options), environment={}, function=name)
        keeping = import_module("raypipe.runtime.keeping")
        keeping.KEEPING.wanted = True
        with keeping.ONE_AT_A_TIME:
            return ending(import_module(f"raypipe.jobs.{name}").run(resolved))

    described = "\n".join(_described(one, info) for one, info in model.model_fields.items())
    text = inspect.getdoc(ending)
    function.__doc__ = f"{inspect.getdoc(model)}\n\n{text}\n\nArgs:\n{described}"
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__module__ = "raypipe"
    del function.__wrapped__
    return function


def _described(name: str, info: Any) -> str:
    text = f"{name}: {' '.join((info.description or '').split())}"
    return textwrap.fill(
        text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False
    )


def _given(name: str, places: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a call gives, by name.

    Raises:
        CallError: it is no call of this function.
        UsageError: see `as_options`.
    """
    model = config.JOBS[name]
    if unknown := [option for option in options if option not in model.model_fields]:
        raise CallError(
            f"{name}() has no option {unknown[0]!r}{nearest(unknown[0], model.model_fields)}"
        )
    try:
        bound = inspect.Signature(parameters(model)).bind_partial(*places, **options)
    except TypeError as error:
        raise CallError(f"{name}(): {error}") from None
    return as_options(name, bound.arguments)
