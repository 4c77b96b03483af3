"""What a library of networks provides, and the values that describe its networks and weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from raypipe.backbone.checkpoints import FILE_TYPES, tensors_in
from raypipe.errors import UsageError
from raypipe.spec import Preprocess

Arguments = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class BackboneSource:
    """How to build a network, on any machine.

    Attributes:
        kind: the library it is looked up in, by the name of the library.
        target: name in the library, or `file.py:callable` / `package.module:callable`.
        name: the canonical name that goes into the spec, free of folders.
        code: the file's text, so that replicas on other machines need no copy of the file.
        sha256: checksum of the source file, where it is the user's own.
        arguments: of the constructor, as the weights ask for them; the defaults are left out.
    """

    kind: str
    target: str
    name: str
    code: str | None = None
    sha256: str | None = None
    arguments: Arguments = ()


@dataclass(frozen=True)
class Description:
    """What weights say about themselves.

    Attributes:
        arguments: of the network's constructor, without those that are its defaults.
        trained: the preprocessing they were trained with, where it is known.
        sha256_prefix: how the checksum of the published file begins, where it is known.
    """

    arguments: Arguments = ()
    trained: Preprocess | None = None
    sha256_prefix: str | None = None


@dataclass(frozen=True)
class Published:
    """Published weights: tensors by the names that the library saves them under."""

    state: Mapping[str, Tensor]
    description: Description


@dataclass(frozen=True)
class Embedding:
    """Where a network has the image's feature.

    What goes into a module, or what a call returns; with neither, the network's own output.
    """

    module: str = ""
    call: Callable[[nn.Module, Tensor], Tensor] | None = None


class Library(ABC):
    """A source of networks. One module per library; `libraries.LIBRARIES` lists them."""

    kind: ClassVar[str]
    form: ClassVar[str]
    """How its names look, for messages."""
    file_types: ClassVar[tuple[str, ...]] = FILE_TYPES
    """How the names of files with weights of its networks end, in lower case."""

    @abstractmethod
    def owns(self, name: str) -> bool:
        """Whether a name has this library's form; the first library that says so gets it."""

    @abstractmethod
    def find(self, name: str) -> BackboneSource:
        """Return the source of a name of this form.

        Raises:
            UsageError: there is none; the nearest names are suggested.
        """

    @abstractmethod
    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build the network with `source.arguments`, without published weights.

        With `blank`, weights will be assigned: no time or memory need be spent on initial ones.
        """

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return published weights, downloaded if need be.

        Raises:
            UsageError: there are none of this name.
            Exception: whatever a failing download raises.
        """
        raise UsageError(
            f"--weights: {source.name} has no published weights; give a file or random; "
            f"got {weights!r}"
        )

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` where there are no published weights of this name."""
        self.published(source, weights)

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what the published sets say, the usual one first.

        Random weights are taken for the first; a file for the one it is by its checksum, else for
        the first whose tensors have its shapes.
        """
        del source
        return [Description()]

    def descriptions_of(
        self, source: BackboneSource, state: Mapping[str, Tensor]
    ) -> Iterable[Description]:
        """Return those of `descriptions` that a file of tensors (out, in) may be of, by names."""
        del state
        return self.descriptions(source)

    def tensors(self, source: BackboneSource, path: Path, data: bytes) -> dict[str, Tensor]:
        """Return a file's tensors by name, with the shapes they were saved with, as (out, in).

        Raises:
            UsageError: it is of another network.
            Exception: whatever reading a damaged file raises.
        """
        del source
        return tensors_in(path, data)

    def renamed(self, source: BackboneSource, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return tensors under the network's own names, where files were saved under others.

        Their shapes, as (out, in), stay as they are.
        """
        del source
        return state

    def classes(self, model: nn.Module, count: int) -> Arguments | None:
        """Return the arguments that make a classifier of so many classes, if there are any."""
        del model, count
        return None

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers that compute the classes, where they are known."""
        del model
        return ()

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return where the library has the image's feature; None if the network has to tell."""
        del model
        return None

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return how many class and register tokens precede those of the patches, if known."""
        found = getattr(model, "num_prefix_tokens", None)
        return int(found) if isinstance(found, int) else None


def times_255(values: Iterable[float]) -> tuple[float, float, float]:
    """Return a mean or standard deviation of 0..1 for pixels of 0..255."""
    red, green, blue = (255 * float(value) for value in values)
    return red, green, blue
