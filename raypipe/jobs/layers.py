"""List the nodes a backbone can be cut at."""

from __future__ import annotations

from raypipe.backbone.registry import build, find
from raypipe.backbone.truncate import LOGITS, default_layer, node_shapes
from raypipe.cli.command import Outcome, run_job
from raypipe.config import LayersConfig
from raypipe.errors import UsageError


def run(config: LayersConfig) -> Outcome:
    """List layers; see `LayersConfig` for the options.

    Raises:
        UsageError: the network does not accept an image of that size.
    """
    source = find(config.backbone)
    model = build(source)
    usual = default_layer(model)
    try:
        shapes = node_shapes(model, config.size)
    except Exception as error:  # the network is the user's: it may raise anything
        raise UsageError(
            f"--size: {source.name} cannot process a {config.size}×{config.size} image: {error}"
        ) from None
    marks = _marks(shapes, usual)
    summary = {
        "backbone": source.name,
        "size": config.size,
        "default": usual,
        "layers": [
            {"name": name, "shape": list(shape), "usual": marks.get(name)} for name, shape in shapes
        ],
    }
    width = max((len(name) for name, _ in shapes), default=0)
    lines = [f"{source.name}: nodes to cut at, with their output for one image"]
    for name, shape in shapes:
        mark = f"  ← {marks[name]}" if name in marks else ""
        lines.append(f"  {name:<{width}}  {' × '.join(map(str, shape))}{mark}")
    lines.append("A module's name stands for its last node, so prefixes of these names work too.")
    lines.append("Use one as --layer [COLUMN=]NODE[:POOL]; `logits` is the last node.")
    return Outcome(summary, "\n".join(lines), summary["layers"])


def _marks(shapes: list[tuple[str, tuple[int, ...]]], default: str) -> dict[str, str]:
    """Name the usual cuts: the end of the convolutional base, the network's feature, its output."""
    marks = {shapes[-1][0]: f"{LOGITS}: the network's own output"} if shapes else {}
    spatial = [name for name, shape in shapes if len(shape) == 3 and shape[-1] > 1]
    if spatial:
        marks[spatial[-1]] = "end of the convolutional base"
    marks[default] = "default: input of the last fully connected layer"
    return marks


def main() -> None:
    """Run from the command line."""
    run_job("layers", LayersConfig)


if __name__ == "__main__":
    main()
