"""A network cut at its outputs: rewritten where that is right, else run as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.cutting.axes import ChannelAxes
from raypipe.backbone.cutting.comparison import (
    Whole,
    check_deterministic,
    check_input_kept,
    check_repeatable,
    differing,
    hookable,
    sample_images,
    unable,
)
from raypipe.backbone.cutting.embedding import embedding_layer, own_embedding
from raypipe.backbone.cutting.tokens import described
from raypipe.backbone.cutting.tracing import Graph, trace, unreported
from raypipe.backbone.cutting.untouched import EarlyExit
from raypipe.backbone.cutting.watching import watch
from raypipe.backbone.libraries import BackboneSource, library_of
from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.outputs import EMBEDDING
from raypipe.backbone.truncate import check_layers, truncate
from raypipe.config.sides import Sides
from raypipe.errors import UsageError
from raypipe.spec import Output


@dataclass
class Cut:
    """A network and what was made of it.

    Attributes:
        source: where it came from.
        model: the untouched network.
        graph: what it computes, if it can be traced.
        outputs: the feature columns; `embedding` is resolved to the node that has it.
        embedding: where the network has its embedding, if one is asked for.
        place: the node that has it, or `embedding`.
        network: maps images to `{layer: output}`.
    """

    source: BackboneSource
    model: nn.Module
    graph: Graph | None
    outputs: tuple[Output, ...]
    embedding: Embedding | None
    place: str
    network: nn.Module

    @property
    def layers(self) -> tuple[str, ...]:
        """Nodes it is cut at, each once."""
        return tuple(dict.fromkeys(output.layer for output in self.outputs))

    @property
    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of weights that lie behind the cut of an untraced network."""
        if not isinstance(self.network, EarlyExit) or self.layers != (EMBEDDING,):
            return ("\0",)
        last = library_of(self.source).classifiers(self.model)
        own = (self.embedding.module,) if self.embedding and self.embedding.module else ()
        return tuple(f"{name}." for name in (*last, *own)) or ("\0",)

    def verify(self, size: Sides) -> None:
        """Compare with the untouched network; where they differ, use that one.

        Raises:
            UsageError: they differ at a node that only the rewritten one has, or features are not
                an image's own.
        """
        images = sample_images(size)
        try:
            check_input_kept(self.model, self.source.name, images)
            if isinstance(self.network, fx.GraphModule) and self.graph is not None:
                self._compare(self.graph, images)
            check_repeatable(self.model, self.network, self.layers, self.source.name, images)
        except UsageError:
            raise
        except Exception:  # a network that cannot process them says so where its shapes are asked
            return

    def _compare(self, graph: Graph, images: Tensor) -> None:
        whole = Whole(self.model, graph, self.embedding, self.place)
        wrong = differing(whole, self.network, self.layers, images)
        if not wrong:
            return
        name = self.source.name
        hooks = (layer == self.place or hookable(layer, self.model) for layer in self.layers)
        if not all(hooks):
            check_deterministic(self.model, self.model, name, images)
            raise UsageError(
                f"--layer: at node {wrong[0]!r} of {name}, torch.fx rewrites the network to one "
                "that computes something else; cut at what a module returns"
            )
        layers = tuple(EMBEDDING if layer == self.place else layer for layer in self.layers)
        self.outputs = tuple(_placed(output, EMBEDDING, self.place) for output in self.outputs)
        self.network = truncate(self.model, layers, self.embedding, rewritten=False)

    def described(self, size: Sides) -> tuple[Output, ...]:
        """Return the outputs with what pooling has to know: where channels and patches are.

        Raises:
            UsageError: it cannot be known.
        """
        try:
            seen, axes = self._watch(size)
        except UsageError:
            raise
        except Exception:  # as in `verify`
            return self.outputs
        prefix = library_of(self.source).prefix_tokens(self.model)
        return tuple(
            described(output, seen[output.layer], axes, prefix, size) for output in self.outputs
        )

    def usual_layer(self, size: Sides) -> str:
        """Return the name of the embedding's node; empty where it is not sure."""
        try:
            where = library_of(self.source).embedding(self.model)
            where = where or _own(self.source, self.model, self.graph, size)
        except UsageError:
            return ""
        return embedding_layer(self.model, self.graph, where)

    def _watch(self, size: Sides) -> tuple[dict[str, Any], ChannelAxes | None]:
        """Run the whole network on one image; return what its layers give, and the axes."""
        image = sample_images(size, 1)
        with torch.inference_mode():
            with unreported():
                shapes = self.network(image)
            if all(not isinstance(v, Tensor) or v.ndim == 2 for v in shapes.values()):
                return shapes, None
            axes = ChannelAxes()
            with axes:
                seen = watch(self.model, self.graph, self.layers, self.embedding, image)
            return shapes | seen, axes


def cut(
    source: BackboneSource,
    model: nn.Module,
    outputs: tuple[Output, ...],
    size: Sides,
    *,
    resolves: bool = True,
) -> Cut:
    """Cut a network at its outputs.

    Args:
        source: where it came from.
        model: the network.
        outputs: the feature columns.
        size: side of the images, or (height, width), where an own network has to be run to find
            its embedding.
        resolves: whether `embedding` is to be the node that has it, if there is one.

    Raises:
        UsageError: a layer that does not exist, or no embedding that is sure.
    """
    graph = trace(model)
    layers = tuple(dict.fromkeys(output.layer for output in outputs))
    named = source.target if source.kind in ("file", "module", "torchvision") else source.name
    check_layers(model, layers, graph, named)
    embedding, place = None, EMBEDDING
    if EMBEDDING in layers:
        embedding = library_of(source).embedding(model)
        if embedding is None:
            embedding = _own(source, model, graph, size)
        place = embedding_layer(model, graph, embedding) if resolves else EMBEDDING
        outputs = tuple(_placed(output, place, EMBEDDING) for output in outputs)
        layers = tuple(dict.fromkeys(output.layer for output in outputs))
    network = truncate(model, layers, embedding, graph=graph)
    return Cut(source, model, graph, outputs, embedding, place, network)


def _placed(output: Output, place: str, before: str) -> Output:
    """Return the output with another layer, if it has the one before."""
    return output.model_copy(update={"layer": place}) if output.layer == before else output


def _own(source: BackboneSource, model: nn.Module, graph: Graph | None, size: Sides) -> Embedding:
    try:
        return own_embedding(model, graph, sample_images(size))
    except UsageError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        raise unable(source.name, size, error) from None
