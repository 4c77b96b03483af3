"""Finding a backbone, verifying its weights, and cutting it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raypipe.backbone import Backbone, restore
from raypipe.backbone.outputs import parse_outputs, pool
from raypipe.backbone.registry import build, find
from raypipe.backbone.shipping import to_bytes
from raypipe.backbone.truncate import default_layer, truncate
from raypipe.backbone.weights import fit_state, load_weights
from raypipe.config.types import Pool
from raypipe.errors import UsageError
from raypipe.spec import Output, Spec


def load(
    name: str,
    weights: str,
    layers: tuple[str, ...] = (),
    *,
    pool: Pool = "avg",
    weights_sha256: str | None = None,
    seed: int = 0,
) -> Backbone:
    """Find a backbone, verify its weights and cut it.

    Args:
        name: as `registry.find` takes it.
        weights: as `weights.load_weights` takes it.
        layers: `[COLUMN=]NODE[:POOL]` entries; none means the network's own feature.
        pool: pooling of the layers that do not name one.
        weights_sha256: the checksum a weights file must have.
        seed: of random weights.

    Raises:
        UsageError: unknown backbone or layer, wrong checksum, weights that do not fit.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    source = find(name)
    model = build(source, blank=True)
    outputs = parse_outputs(layers, pool, "" if layers else default_layer(model))
    # A wrong layer is found before anything is downloaded.
    truncated = truncate(model, tuple(dict.fromkeys(output.layer for output in outputs)))
    loaded = load_weights(source, weights, weights_sha256=weights_sha256, seed=seed)
    state = fit_state(truncated, loaded.state, weights)
    network = to_bytes(truncated, set(state))
    return Backbone(source, outputs, network, _to_numpy(state), loaded.sha256, loaded.trained)


def load_again(
    spec: Spec,
    provenance: Mapping[str, Any],
    outputs: tuple[Output, ...],
    *,
    backbone: str | None = None,
    weights: str | None = None,
) -> Backbone:
    """Load the backbone that features were made with, and make sure it is the same.

    Args:
        spec: what the features are.
        provenance: where backbone and weights came from.
        outputs: what is wanted of it.
        backbone: where it is now, if it has moved.
        weights: where they are now, if they have moved.

    Raises:
        UsageError: it is another one.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    loaded = load(
        backbone or provenance["backbone"],
        weights or provenance["weights"],
        tuple(f"{output.column}={output.layer}:{output.pool}" for output in outputs),
        seed=provenance["seed"],
    )
    same = {
        "--backbone": (loaded.source.sha256, spec.source_sha256),
        "--weights": (loaded.weights_sha256, spec.weights_sha256),
    }
    for option, (now, then) in same.items():
        if now != then:
            raise UsageError(
                f"{option}: not what the features were made with: checksum {now}, expected {then}"
            )
    return loaded


@torch.inference_mode()
def feature_shapes(
    backbone: Backbone, size: int, dtype: str
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Run one blank image through the network; return each column's shape and type.

    Raises:
        UsageError: the network does not accept an image of this size, or a layer is no tensor.
    """
    model = restore(backbone)
    try:
        outputs = model(torch.zeros(1, 3, size, size))
    except Exception as error:  # the network is the user's: it may raise anything
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"--size: {backbone.source.name} cannot process a {size}×{size} image: {first_line}"
        ) from None
    return {
        wanted.column: _shape(wanted, outputs[wanted.layer], dtype) for wanted in backbone.outputs
    }


def _shape(wanted: Output, value: object, dtype: str) -> tuple[tuple[int, ...], str]:
    layer = wanted.layer
    if not isinstance(value, torch.Tensor) or value.ndim < 2 or value.shape[0] != 1:
        raise UsageError(f"--layer: node {layer!r} gives no tensor per image; cut at another")
    if wanted.pool == "argmax" and value.ndim != 2:
        raise UsageError(
            f"--layer: {layer}:argmax needs one vector per image; the node gives "
            f"{' × '.join(map(str, value.shape[1:]))}; use logits:argmax"
        )
    pooled = pool(value, wanted.pool)
    return tuple(pooled.shape[1:]), "int32" if wanted.pool == "argmax" else dtype


def _to_numpy(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays travel through the object store without a copy; networks are built in float32."""
    return {
        name: (value.float() if value.is_floating_point() else value).cpu().numpy()
        for name, value in state.items()
    }
