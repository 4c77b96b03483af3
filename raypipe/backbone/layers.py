"""The layers of a backbone by name, for people who choose one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from raypipe.backbone.cutting.comparison import sample_images, unable
from raypipe.backbone.cutting.embedding import embedding_layer, own_embedding
from raypipe.backbone.cutting.shapes import Node, list_nodes
from raypipe.backbone.cutting.tracing import trace
from raypipe.backbone.libraries import library_of
from raypipe.backbone.registry import build, find
from raypipe.config.sides import Sides
from raypipe.errors import UsageError

_USUAL_SIZE = 224


@dataclass(frozen=True)
class Layers:
    """What a backbone can be cut at.

    Attributes:
        name: the backbone's name.
        size: of the image that shapes are for: the side of a square, or (height, width).
        nodes: all that give a tensor per image, in order.
        embedding: the node that is the default; `embedding` where it is no node.
        unclear: why there is no default; empty where there is one.
    """

    name: str
    size: Sides
    nodes: list[Node]
    embedding: str
    unclear: str = ""


def list_layers(backbone: str, size: Sides | None = None) -> Layers:
    """List the nodes of a backbone with random weights.

    Args:
        backbone: as `registry.find` takes it.
        size: side of the image, or (height, width); None means what its usual weights were trained
            with.

    Raises:
        UsageError: there is no such backbone, or it does not take images of that size.
    """
    source = find(backbone)
    library = library_of(source)
    usual = next(iter(library.descriptions(source)))
    source = replace(source, arguments=usual.arguments)
    size = size or (usual.trained.size if usual.trained else _USUAL_SIZE)
    model = build(source)
    graph = trace(model)
    try:
        nodes = list_nodes(model, graph, size)
    except Exception as error:  # the network is the user's: it may raise anything
        raise unable(source.name, size, error) from None
    try:
        where = library.embedding(model) or own_embedding(model, graph, sample_images(size))
        if where.call is not None:  # which may find that there is none
            with torch.inference_mode():
                where.call(model, sample_images(size, 1))
    except UsageError as error:
        return Layers(source.name, size, nodes, "", str(error).removeprefix("--layer: "))
    except Exception as error:  # behind some node
        first = next(iter(str(error).splitlines()), type(error).__name__)
        return Layers(source.name, size, nodes, "", f"its end fails: {first}")
    return Layers(source.name, size, nodes, embedding_layer(model, graph, where))
