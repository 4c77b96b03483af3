"""List the nodes a backbone can be cut at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import LayersConfig
from raypipe.config.sides import measured

if TYPE_CHECKING:
    from raypipe.backbone.cutting.shapes import Node


def run(config: LayersConfig) -> Outcome:
    """List layers; see `LayersConfig` for the options.

    Raises:
        UsageError: the network does not accept an image of that size.
    """
    from raypipe.backbone.layers import list_layers

    found = list_layers(config.backbone, config.size)
    marks = _marks(found.nodes, found.embedding)
    summary: dict[str, Any] = {
        "backbone": found.name,
        "size": found.size,
        "default": found.embedding or None,
        "unclear": found.unclear or None,
        "layers": [
            {
                "name": node.name,
                "shape": list(node.shape),
                "channels": node.channels,
                "usual": marks.get(node.name),
            }
            for node in found.nodes
        ],
    }
    return Outcome(summary, _text(summary), summary["layers"])


def _text(summary: dict[str, Any]) -> str:
    layers = summary["layers"]
    width = max((len(layer["name"]) for layer in layers), default=0)
    lines = [
        f"{summary['backbone']}: nodes to cut at, with their output for one image "
        f"of {measured(summary['size'], '×')}; channels are marked c"
    ]
    for layer in layers:
        mark = f"  ← {layer['usual']}" if layer["usual"] else ""
        lines.append(f"  {layer['name']:<{width}}  {_shape(layer)}{mark}")
    if summary["unclear"]:
        lines.append(f"There is no default: {summary['unclear']}.")
    elif summary["default"] not in {layer["name"] for layer in layers}:
        lines.append("The default, `embedding`, is computed beside these nodes.")
    lines.append("A module's name stands for what its first call returns, NAME_1 for its second.")
    lines.append(
        "Use one as --layer [COLUMN=]NODE[:POOL]; `embedding` is what the network's library calls "
        "the image's feature, `logits` the last node."
    )
    return "\n".join(lines)


def _shape(layer: dict[str, Any]) -> str:
    sides = [f"{s}{'c' if i == layer['channels'] else ''}" for i, s in enumerate(layer["shape"])]
    unknown = "  (channels unknown)" if layer["channels"] is None else ""
    return " × ".join(sides) + unknown


def _marks(nodes: list[Node], embedding: str) -> dict[str, str]:
    """Name the usual cuts: the end of the convolutional base, the network's feature, its output."""
    marks = {nodes[-1].name: "logits: the network's own output"} if nodes else {}
    spatial = [node.name for node in nodes if len(node.shape) == 3 and node.shape[1] > 1]
    if spatial:
        marks[spatial[-1]] = "end of the convolutional base"
    if embedding:
        marks[embedding] = "embedding: the default"
    return marks


def main() -> None:
    """Run from the command line."""
    run_job("layers", LayersConfig)


if __name__ == "__main__":
    main()
