"""Public functions that take or return arrays give shapes, and what they raise, in docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.blocks import ROOT

_ARRAYS = re.compile(r"\b(NDArray|ndarray|Tensor)\b")
#: `(N, D)`, `(N,)`, `(size, size, 3)`, `(rows · views, …)`; or a number without any axis.
_SHAPE = re.compile(r"\((?=[^()]*,)[\w… ·×+−/{}^]+(?:, ?[\w… ·×+−/{}^]*)+\)|\bscalar", re.I)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files() -> list[Path]:
    return sorted((ROOT / "raypipe").rglob("*.py"))


@cache
def aliases() -> re.Pattern[str]:
    """Names of array types: NumPy's and torch's, and those that modules give to types of these."""
    found: set[str] = set()
    for path in files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name[0] != "_" and name[0].isupper() and not name.isupper():
                    found |= {name} if is_array_type(node.value) else set()
    return re.compile(rf"(?<!pa\.)\b(NDArray|ndarray|Tensor|{'|'.join(sorted(found))})\b")


def is_array_type(value: ast.expr) -> bool:
    """Whether an alias stands for an array, and not for a mapping or function that has some."""
    text = ast.unparse(value)
    return bool(_ARRAYS.search(text)) and not text.startswith(("Callable", "dict", "tuple"))


def public(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield functions, and methods of classes, whose names have no leading underscore."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            methods = [one for one in node.body if isinstance(one, Function)]
            yield from ((f"{node.name}.{m.name}", m) for m in methods if m.name[0] != "_")
        elif isinstance(node, Function) and node.name[0] != "_":
            yield node.name, node


def takes_arrays(function: Function) -> bool:
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    types = [one.annotation for one in arguments if one] + [function.returns]
    return any(aliases().search(ast.unparse(one)) for one in types if one)


def raises(function: Function) -> bool:
    """Whether a function itself raises an error, and does not only pass one on."""
    return any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(function))


def lacking(text: str) -> list[str]:
    """Return which of a module's public array functions lack a shape, or what they raise."""
    found = []
    for name, function in public(ast.parse(text)):
        documented = ast.get_docstring(function) or ""
        if takes_arrays(function):
            found += [] if _SHAPE.search(documented) else [f"{name}: shape"]
            found += [f"{name}: Raises"] if raises(function) and "Raises:" not in documented else []
    return found


def test_array_functions_give_shapes_and_errors() -> None:
    found = {str(path): lacking(path.read_text(encoding="utf-8")) for path in files()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_functions_without_are_found() -> None:
    text = '''
Floats = npt.NDArray[Any]

def one(x: npt.NDArray[Any]) -> None:
    """Take (many) numbers."""

def two(x: int) -> list[Floats]:
    """Return some."""

def _three(x: Floats) -> None: ...

def four(x: Floats, y: torch.Tensor) -> None:
    """Add (N,) to (N, D)."""
    raise ValueError("no")

class A:
    def five(self, x: "Tensor | None") -> None:
        """Take `x`."""

    def six(self) -> Floats:
        """Return a scalar."""
'''
    assert lacking(text) == ["one: shape", "two: shape", "four: Raises", "A.five: shape"]
