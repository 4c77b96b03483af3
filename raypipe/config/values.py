"""Values of options that are written as a text: read once, and kept together with the text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self, get_args

import yaml
from pydantic_core import CoreSchema, core_schema

from raypipe.config.sides import Sides


@dataclass(frozen=True)
class Value:
    """What an option's text stands for.

    Attributes:
        text: as it was given. It is what JSON, YAML, checkpoints and messages show.
        allowed: what may be given, in words.
    """

    text: str
    allowed: ClassVar[str]

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Return what a text stands for, or a number that is meant as one.

        Raises:
            ValueError: saying what is allowed.
        """
        if isinstance(given, cls):
            return given
        try:
            _require(isinstance(given, str | Real))
            return cls(str(given), *cls._read(str(given)))
        except ValueError:
            raise ValueError(cls.allowed) from None

    @classmethod
    def _read(cls, text: str) -> tuple[Any, ...]:
        """Return the attributes after `text`; raise ValueError if it is not allowed."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        shown = core_schema.to_string_ser_schema(when_used="always")
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=shown)


def as_written(annotation: Any) -> Any:
    """Return the type of what is given for an option: text, where the option holds a `Value`."""
    first, *rest = get_args(annotation) or [annotation]
    if first == Sides:
        return int | str | None
    if not (isinstance(first, type) and issubclass(first, Value)):
        return annotation
    return {Ellipsis: tuple[str, ...], type(None): str | None}[rest[0]] if rest else str


def _require(*conditions: bool) -> None:
    if not all(conditions):
        raise ValueError


@dataclass(frozen=True)
class _Numbers(Value):
    """Numbers with commas between them, or a list of numbers."""

    parts: tuple[float, ...]

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Accept a list as well."""
        is_list = isinstance(given, list | tuple)
        return super().parse(",".join(map(str, given)) if is_list else given)

    @classmethod
    def _read(cls, text: str) -> tuple[tuple[float, ...]]:
        parts = tuple(map(float, text.split(",")))
        _require(*cls._conditions(parts))
        return (parts,)

    @classmethod
    def _conditions(cls, parts: tuple[float, ...]) -> tuple[bool, ...]:
        raise NotImplementedError


@dataclass(frozen=True)
class Shares(_Numbers):
    """Shares of train, validation and test, or of train and test, as `0.8,0.1,0.1`."""

    allowed = "two or three positive shares that add up to 1, as 0.8,0.1,0.1"

    @classmethod
    def _conditions(cls, parts: tuple[float, ...]) -> tuple[bool, ...]:
        return len(parts) in (2, 3), min(parts) > 0, abs(sum(parts) - 1) < 1e-6


@dataclass(frozen=True)
class Colour(_Numbers):
    """A value of each channel, as `0.485,0.456,0.406`."""

    allowed = "three numbers of 0..1, for red, green and blue, as 0.485,0.456,0.406"

    @classmethod
    def _conditions(cls, parts: tuple[float, ...]) -> tuple[bool, ...]:
        return len(parts) == 3, all(0 <= part <= 1 for part in parts)


@dataclass(frozen=True)
class KRange(Value):
    """Numbers of clusters to try: `5`, `5:50`, or `5:50:5` in steps of 5."""

    numbers: range
    allowed = "a number from 1, or a range as 5:50 or 5:50:5 that starts at 2 or more"

    @classmethod
    def _read(cls, text: str) -> tuple[range]:
        first, *rest = _whole_numbers(text)
        if not rest:
            return (range(first, first + 1),)
        _require(len(rest) <= 2, 2 <= first <= rest[0])
        return (range(first, rest[0] + 1, *rest[1:]),)


@dataclass(frozen=True)
class Actors(Value):
    """How many actors: N, MIN:MAX, or `auto`, which has no bounds."""

    bounds: tuple[int, int] | None
    allowed = "auto, N or MIN:MAX with 1 ≤ MIN ≤ MAX"

    @classmethod
    def _read(cls, text: str) -> tuple[tuple[int, int] | None]:
        if text == "auto":
            return (None,)
        found = _whole_numbers(text)
        _require(len(found) <= 2, found[0] <= found[-1])
        return ((found[0], found[-1]),)


ANY_NUMBER = Actors.parse("auto")


def _whole_numbers(text: str) -> list[int]:
    """Return the numbers from 1 that stand between colons."""
    parts = text.split(":")
    _require(all(part.isdecimal() and int(part) >= 1 for part in parts))
    return [int(part) for part in parts]


@dataclass(frozen=True)
class HiddenLayers(Value):
    """Units of each hidden layer, as `256` or `512x128`; none for `none`."""

    units: tuple[int, ...]
    allowed = "none, or the units of each hidden layer, as 256 or 512x128"

    @classmethod
    def _read(cls, text: str) -> tuple[tuple[int, ...]]:
        _require(re.fullmatch(r"none|[1-9]\d*(x[1-9]\d*)*", text) is not None)
        return (() if text == "none" else tuple(map(int, text.split("x"))),)


@dataclass(frozen=True)
class Bar(Value):
    """How many of some items may be so: a number, or a share of all of them, as `1%`."""

    number: float
    is_share: bool
    allowed = "a whole number from 0, or a share as 1% or 0.5%"

    @classmethod
    def _read(cls, text: str) -> tuple[float, bool]:
        number = text.removesuffix("%")
        is_share = number != text
        _require(is_share or number.isdecimal(), 0 <= float(number) <= (100 if is_share else 2**63))
        return float(number) / (100 if is_share else 1), is_share

    def is_met(self, count: int, of: int) -> bool:
        """Whether a count of all items is not above it."""
        return count <= (self.number * of if self.is_share else self.number)


@dataclass(frozen=True)
class Size(Value):
    """A number of bytes, as `4GiB`, `500M` or a plain number; K, M, G and T are powers of 1024."""

    bytes: int
    allowed = "a size as 4GiB or 500MiB"

    @classmethod
    def _read(cls, text: str) -> tuple[int]:
        number = text.rstrip("BKMGTibkmgt ")
        unit = text[len(number) :].strip().upper()
        _require(re.fullmatch(r"B?|[KMGT](IB)?", unit) is not None)
        size = float(number) * 1024 ** "BKMGT".index(unit[:1] or "B")
        _require(1 <= size < 2**63)
        return (int(size),)


@dataclass(frozen=True)
class Change(Value):
    """A change of one option of a recipe's step; its value is YAML."""

    step: str
    option: str
    value: Any
    allowed = "STEP.OPTION=VALUE"

    @classmethod
    def _read(cls, text: str) -> tuple[str, str, Any]:
        place, equals, value = text.partition("=")
        step, _, option = place.partition(".")
        _require(bool(step and option and equals))
        try:
            parsed = yaml.safe_load(value)
        except (ValueError, RecursionError, yaml.YAMLError):
            parsed = value  # `*.jpg` is a pattern, and no alias; 2026-02-30 may be a name
        return step, option.replace("-", "_"), parsed


_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_RANGE = rf"(?P<low>{_NUMBER})?\s*:\s*(?P<high>{_NUMBER})?"
_FILTER = re.compile(rf"(?P<column>[^=\s]+)\s*=\s*(?:{_RANGE}|(?P<value>{_NUMBER}))")


@dataclass(frozen=True)
class Filter(Value):
    """Takes rows whose value in a column lies within [low, high], both included."""

    column: str
    low: float
    high: float
    allowed = "COLUMN=LOW:HIGH with LOW ≤ HIGH, or COLUMN=VALUE"

    @classmethod
    def _read(cls, text: str) -> tuple[str, float, float]:
        if not (found := _FILTER.fullmatch(text.strip())):
            raise ValueError
        low = float(found["low"] or found["value"] or "-inf")
        high = float(found["high"] or found["value"] or "inf")
        _require(low <= high, math.isfinite(low) or math.isfinite(high))
        return found["column"], low, high

    @property
    def canonical(self) -> Self:
        """The same filter, written as `COLUMN=LOW:HIGH`; an end that is open is left out."""
        return self.parse(f"{self.column}={_end(self.low)}:{_end(self.high)}")

    def accepts(self, values: Any) -> Any:
        """Return which of (N,) values lie within, as (N,) bool."""
        return (values >= self.low) & (values <= self.high)


def _end(value: float) -> str:
    if math.isinf(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
