"""Preparation of a flow: from a job's options to the network, the spec, and the replicas."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raypipe.config import ExtractConfig, RayConfig
from raypipe.display import say
from raypipe.flow.executor import Executor, suited
from raypipe.flow.plan import Plan
from raypipe.flow.sizing import Sizing, settle
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.rows.listing import Listing
from raypipe.spec import Augment, Preprocess, Spec
from raypipe.steps.batch import ReadOptions
from raypipe.steps.pool_plan import Replicas
from raypipe.storage import Storage
from raypipe.store.identity import is_store, read_identity

if TYPE_CHECKING:  # it takes torch
    from raypipe.backbone import Backbone


@dataclass(frozen=True)
class Extractor:
    """A network, and what goes into it and comes out.

    Attributes:
        backbone: the network, cut.
        preprocess: how images enter it.
        shapes: shape and type of one row's features, by column.
    """

    backbone: Backbone
    preprocess: Preprocess
    shapes: dict[str, tuple[tuple[int, ...], str]]


def load_extractor(config: ExtractConfig, there: Spec | None = None) -> Extractor:
    """Load the network that the options name.

    Args:
        config: the options.
        there: what the store goes on with, if there is one: without other options, its layers.

    Raises:
        UsageError: there is none, or it cannot be cut there.
        WeightsUnavailableError: its weights cannot be downloaded.
    """
    from raypipe.backbone.loading import feature_shapes, load  # takes torch: seconds
    from raypipe.backbone.registry import find

    own = there if there and there.backbone == find(config.backbone).name else None
    keeps = own is not None and not config.layer and "pool" not in config.model_fields_set
    backbone = load(
        config.backbone,
        config.weights,
        config.layer,
        pool=config.pool,
        weights_sha256=config.weights_sha256,
        seed=config.seed,
        size=config.size,
        outputs=own.outputs if own is not None and keeps else (),
    )
    if keeps and backbone.usual and backbone.layers != (backbone.usual,):
        say(
            f"!! the store goes on with {', '.join(backbone.layers)}, as it was begun; the "
            f"embedding of {backbone.source.name} is {backbone.usual}"
        )
    preprocess = resolve_preprocess(config, backbone.trained)
    shapes = feature_shapes(backbone, preprocess.size, config.dtype)
    return Extractor(backbone, preprocess, shapes)


def spec_of(
    config: ExtractConfig, extractor: Extractor, augment: Augment | None, precision: Any
) -> Spec:
    """Return what the features are.

    Args:
        config: the options.
        extractor: the network.
        augment: the random views.
        precision: of the network's arithmetic, with `auto` resolved.
    """
    backbone = extractor.backbone
    return Spec(
        backbone=backbone.source.name,
        source_sha256=backbone.source.sha256,
        arguments=dict(backbone.source.arguments),
        weights_sha256=backbone.weights_sha256,
        outputs=backbone.outputs,
        preprocess=extractor.preprocess,
        augment=augment,
        precision=precision,
        dtype=config.dtype,
    )


@dataclass(frozen=True)
class Prepared:
    """What is ready to run.

    Attributes:
        executor: where.
        sizing: what was settled.
        replicas: the pool.
    """

    executor: Executor
    sizing: Sizing
    replicas: Replicas


def prepare(
    executor: Executor,
    config: RayConfig,
    backbone: Backbone,
    options: ReadOptions,
    plan: Plan,
    source: str,
    storage: Storage | None,
    stack: ExitStack,
    *,
    images: int | None = None,
    sizing: Sizing | None = None,
    kept: Mapping[str, Any] | None = None,
) -> Prepared:
    """Settle what the options leave open and where to run, and plan the replicas.

    Args:
        executor: where to run as far as one knows.
        config: the options.
        backbone: the network.
        options: how items are read, and what the features are.
        plan: what is to be done; at least one unit.
        source: where its items come from, for messages.
        storage: the store that is written, whose folder is there; None for none.
        stack: Ray runs until it is closed, if it is started.
        images: how many there are to be in all, which says whether compiling pays; None: those
            of the plan.
        sizing: what has been settled already.
        kept: what the store has settled, if there is one; see `settled` and `settle`.

    Raises:
        UsageError: a node does not see the items or the store; or as `settle` and
            `Executor.replicas` have it.
        RaypipeError: as `settle` has it.
    """
    executor.check_reach(plan.some_items(), source, storage)
    sizing = sizing or settle(
        executor,
        config,
        backbone,
        options,
        plan.some_items(),
        images=images or plan.items,
        kept=kept,
    )
    gpu_decoded = options.spec.preprocess.gpu_decoded
    better = suited(executor, config, stack, plan.pending, sizing.seconds, gpu_decoded=gpu_decoded)
    if better is not executor:
        better.check_reach(plan.some_items(), source, storage)
    replicas = better.replicas(
        config.actors, sizing.batch_size, len(plan.units), compiled=sizing.compiled
    )
    return Prepared(better, sizing, replicas)


def check_feasible(
    executor: Executor, config: RayConfig, listing: Listing, source: str, storage: Storage
) -> None:
    """Make sure that the work can be done there, before a store's identity is written.

    Args:
        executor: where the work is to be done.
        config: the options.
        listing: the items.
        source: where they come from, for messages.
        storage: where the store is to be; its folder is there.

    Raises:
        UsageError: it has no room for the replicas, or a node does not see the items or the folder.
    """
    executor.replicas(config.actors, 1, 1)
    executor.check_reach(listing.some_items(), source, storage)


def settled(storage: Storage) -> Any:
    """Return what a store has kept of its first run, if anything; None where there is no store."""
    if not is_store(storage.uri):
        return None
    return read_identity(storage, "--out")["provenance"].get("computed", {})
