"""Finding a backbone, verifying its weights, and cutting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from raypipe.backbone import Backbone, restore
from raypipe.backbone.constants import check_constants, constants
from raypipe.backbone.cutting.comparison import unable
from raypipe.backbone.cutting.cut import Cut, cut
from raypipe.backbone.cutting.tracing import unreported
from raypipe.backbone.filling import filled, is_alike
from raypipe.backbone.libraries import (
    Arguments,
    BackboneSource,
    OwnFile,
    OwnModule,
    check_code,
    differs,
    library_for,
    library_of,
)
from raypipe.backbone.outputs import parse_outputs, pool
from raypipe.backbone.registry import build, find
from raypipe.backbone.shipping import to_bytes
from raypipe.backbone.weights import Needs, fit_state, load_weights
from raypipe.config.sides import Sides, both
from raypipe.config.types import Pool
from raypipe.errors import UsageError
from raypipe.spec import Output, Spec

_USUAL_SIZE = 224


def load(
    name: str,
    weights: str,
    layers: tuple[str, ...] = (),
    *,
    pool: Pool = "avg",
    weights_sha256: str | None = None,
    seed: int = 0,
    size: Sides | None = None,
    outputs: tuple[Output, ...] = (),
    arguments: Arguments | None = None,
) -> Backbone:
    """Find a backbone, verify its weights, cut it, and compare it with what it was.

    Args:
        name: as `registry.find` takes it.
        weights: as `weights.load_weights` takes it.
        layers: `[COLUMN=]NODE[:POOL]` entries; none means the library's embedding.
        pool: pooling of the layers that do not name one.
        weights_sha256: the checksum a weights file must have.
        seed: of random weights.
        size: side of the images, or (height, width); None means what the weights were trained with.
        outputs: of an existing store, to be taken as they are instead of `layers`.
        arguments: of the network's constructor, likewise; None leaves them to the weights.

    Raises:
        UsageError: unknown backbone or layer, wrong checksum, weights that do not fit, a network
            whose features cannot be relied on.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    source = find(name)
    wanted = outputs or parse_outputs(layers, pool)
    first = size or _USUAL_SIZE

    @cache
    def needs(one: BackboneSource) -> Needs:
        return _needs(one, wanted, first)

    needs(source)  # a wrong layer is found before anything is downloaded
    loaded = load_weights(
        source,
        weights,
        needs=needs,
        weights_sha256=weights_sha256,
        seed=seed,
        arguments=arguments,
    )
    source = replace(source, arguments=loaded.arguments)
    size = size or (loaded.trained.size if loaded.trained else _USUAL_SIZE)
    model = filled(source, loaded.state, seed)
    check_constants(source.name, needs(source).constants, constants(model))
    found = cut(source, model, wanted, size, resolves=not outputs)
    _check_kinds(found, loaded.state, weights)
    state = fit_state(_shapes(found), loaded.state, weights)
    found.verify(size)
    described = outputs or found.described(size)
    usual = found.usual_layer(size) if outputs and arguments is None else found.place
    network = to_bytes(found.network, set(state))
    return Backbone(
        source,
        described,
        network,
        _to_numpy(state),
        loaded.sha256,
        loaded.trained,
        found.embedding,
        isinstance(found.network, fx.GraphModule),
        usual,
    )


def _needs(source: BackboneSource, outputs: tuple[Output, ...], size: Sides) -> Needs:
    library = library_of(source)
    model = build(source, blank=True)
    drawn = constants(model)  # before running it, which may change them
    found = cut(source, model, outputs, size)
    return Needs(
        _shapes(found),
        library.classifiers(found.model),
        lambda count: library.classes(found.model, count),
        drawn,
        frozenset(model.state_dict()),
    )


def _shapes(found: Cut) -> dict[str, torch.Size]:
    """Return the shapes of the weights in front of the cut.

    What tracing keeps as constants are none. Batch norm's step counters are not used in evaluation,
    and converted weights often lack them.
    """
    whole, needed = found.model.state_dict(), found.network.state_dict()
    return {
        name: value.shape
        for name, value in whole.items()
        if name in needed
        and not name.endswith("num_batches_tracked")
        and not name.startswith(found.unused)
    }


def _check_kinds(found: Cut, state: Mapping[str, torch.Tensor], weights: str) -> None:
    """Make sure that weights are numbers of the kinds that the network has."""
    whole = found.model.state_dict()
    for name in _shapes(found):
        given = state.get(name)
        if given is not None and not is_alike(given, whole[name]):
            kind = "without values" if given.is_meta else f"as {given.dtype}, {given.layout}"
            raise UsageError(
                f"--weights: {weights} has {name} {kind}; the network takes dense numbers like "
                f"{whole[name].dtype}, of at least 16 bits: save them as such"
            )


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
        UsageError: it is another one, or code of somebody's own that `backbone` does not name.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    if not backbone:
        _check_runs_no_code(provenance["backbone"])
    else:
        check_code(backbone, spec.source_sha256)
    loaded = load(
        backbone or provenance["backbone"],
        weights or provenance["weights"],
        seed=provenance["seed"],
        size=spec.preprocess.size,
        outputs=outputs,
        arguments=tuple(spec.arguments.items()),
    )
    same = {
        "--backbone": (loaded.source.sha256, spec.source_sha256),
        "--weights": (loaded.weights_sha256, spec.weights_sha256),
    }
    for option, (now, then) in same.items():
        if now != then:
            raise differs(option, now, then)
    return loaded


def _check_runs_no_code(name: str) -> None:
    """Refuse code that a model or a store names: it may come from anybody."""
    if library_for(name).kind in (OwnFile.kind, OwnModule.kind):
        raise UsageError(
            f"--backbone: the features were made with code, {name!r}, which is run only if you "
            f"name it: give --backbone {name} if you trust it"
        )


@torch.inference_mode()
def feature_shapes(
    backbone: Backbone, size: Sides, dtype: str
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Run one blank image through the network; return each column's shape and type.

    Raises:
        UsageError: the network does not accept an image of this size, or a layer is no tensor.
    """
    model = restore(backbone)
    try:
        with unreported():
            outputs = model(torch.zeros(1, 3, *both(size)))
    except Exception as error:  # the network is the user's: it may raise anything
        raise unable(backbone.source.name, size, error) from None
    return {
        wanted.column: _shape(wanted, outputs[wanted.layer], dtype) for wanted in backbone.outputs
    }


def _shape(wanted: Output, value: object, dtype: str) -> tuple[tuple[int, ...], str]:
    layer = wanted.layer
    if not isinstance(value, torch.Tensor) or value.ndim < 2 or value.shape[0] != 1:
        found = (
            f"shape {tuple(value.shape)}"
            if isinstance(value, torch.Tensor)
            else type(value).__name__
        )
        raise UsageError(
            f"--layer: node {layer!r} gives no features per image (for one image: {found}); "
            "cut at another"
        )
    if value.is_complex():
        raise UsageError(f"--layer: node {layer!r} gives complex numbers; cut at another")
    if wanted.pool == "argmax" and value.ndim != 2:
        raise UsageError(
            f"--layer: {layer}:argmax needs one vector per image; the node gives "
            f"{' × '.join(map(str, value.shape[1:]))}; use logits:argmax"
        )
    pooled = pool(value, wanted)
    return tuple(pooled.shape[1:]), "int32" if wanted.pool == "argmax" else dtype


def _to_numpy(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays travel through the object store without a copy; networks are built in float32."""
    return {
        name: (value.float() if value.is_floating_point() else value).cpu().numpy()
        for name, value in state.items()
    }
