"""Inputs of predictions: images, through the backbone in one pass, or a store's features.

    images   units of items  ─ read, decode ─ backbone ─ head ─ write       pipeline.write
    store    its partitions  ─ read ──────────────────── head ─ write       stored.Stored

Neither Ray nor torch is imported before it is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.display import counted, say, track
from raypipe.errors import UsageError
from raypipe.fit.evaluate.tally import check_labels
from raypipe.flow.kept import Kept
from raypipe.flow.plan import Plan, make_plan
from raypipe.heads.model import TrainedModel
from raypipe.heads.predictor import Predictor
from raypipe.predictions.stored import outputs_of
from raypipe.predictions.table import shorten
from raypipe.rows.listing import Listing
from raypipe.sources import SelectedSource, Source, open_source
from raypipe.spec import Spec
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Finished
from raypipe.storage import Storage

if TYPE_CHECKING:
    from raypipe.backbone import Backbone
    from raypipe.flow.prepare import Prepared
    from raypipe.flow.sizing import Sizing

#: Loading one takes most of a second: it is compared with what it was before it was cut.
_NETWORKS: Kept[Backbone] = Kept()
#: What is settled for predictions that no store keeps it for.
_SIZINGS: Kept[Sizing] = Kept()


class Input(Protocol):
    """What predictions are made of.

    Attributes:
        uri: where it is.
        spec: of the predictions.
        decodes: whether images are decoded.
        by_batch: as `make_plan` has it.
    """

    uri: str
    spec: Spec
    decodes: bool
    by_batch: bool

    def items(self) -> Iterator[pa.RecordBatch]:
        """Yield the items."""

    def left_aside(self) -> Mapping[str, int]:
        """Return how much there is that is no item, by rule."""

    def check_feasible(
        self, listing: Listing, storage: Storage, stack: contextlib.ExitStack
    ) -> None:
        """Make sure that a store can be written, before its identity is. Raises UsageError."""

    def labels_not_found(self) -> Mapping[str, int]:
        """Return what labels were not found, by reason."""

    def rows(self, predictor: Predictor, stack: contextlib.ExitStack) -> Iterator[pa.Table]:
        """Yield `id`, `label`, `reason`, `message` and the predictions of all items.

        Ray runs until the stack is closed, if it is needed.
        """

    def write(
        self, plan: Plan, storage: Storage, predictor: Predictor, stack: contextlib.ExitStack
    ) -> Iterator[Finished]:
        """Write the partitions of a plan; yield each unit as soon as its files are there.

        Ray runs until the stack is closed, if it is needed.
        """


def listed(source: Input, config: PredictConfig, classes: tuple[str, ...]) -> Listing:
    """Return the items of a source.

    Raises:
        UsageError: there are none, or their labels are not the model's, which are compared.
    """
    listing = Listing(source.items(), source.left_aside, source.labels_not_found)
    if not len(listing):
        raise UsageError(f"SOURCE: no images in {source.uri!r}")
    if config.evaluate:
        check_labels(listing.batches(), classes)
    return listing


class Images:
    """Images of any kind, and the model's backbone; an `Input`.

    Args:
        config: the options.
        model: the model.
        predictor: what is made of the features.
        given: images that a program has, for which this process is enough, without a word; None
            for those that the options name.

    Raises:
        UsageError: there are no images, or the backbone is not the model's any more.
    """

    by_batch, decodes = False, True

    def __init__(
        self,
        config: PredictConfig,
        model: TrainedModel,
        predictor: Predictor,
        given: Source | None = None,
    ) -> None:
        from raypipe.steps.apart import DECODERS

        self.config, self.classes = config, model.classes
        self.given = given is not None
        self.source = open_source(config) if given is None else SelectedSource(given, config)
        self.uri = self.source.uri
        DECODERS.start(1)
        from raypipe.backbone.loading import (
            load_again,
        )  # takes torch, which a wrong source is not to

        outputs = outputs_of(model, predictor)
        self.backbone = _NETWORKS.get(
            (model.spec.fingerprint, outputs, config.backbone, config.weights),
            lambda: load_again(
                model.spec,
                model.provenance,
                outputs,
                backbone=config.backbone,
                weights=config.weights,
            ),
        )
        # Of each image only itself, and only the outputs that are needed.
        changes = {"outputs": self.backbone.outputs, "augment": None, "head": predictor.spec}
        self.spec: Spec = model.spec.model_copy(update=changes)
        self.reading = ReadOptions(
            self.spec,
            config.max_pixels,
            config.max_seconds_per_image,
            server_etags=self.source.server_etags,
        )

    def items(self) -> Iterator[pa.RecordBatch]:
        """Yield the items; see `Input`."""
        return self.source.list()

    def left_aside(self) -> Mapping[str, int]:
        """Return how much of the source is no item, by rule; see `Input`."""
        return self.source.aside

    def check_feasible(
        self, listing: Listing, storage: Storage, stack: contextlib.ExitStack
    ) -> None:
        """Make sure that it can be done; see `Input`."""
        from raypipe.flow.executor import choose
        from raypipe.flow.prepare import check_feasible

        executor = choose(self.config, stack, len(listing))
        check_feasible(executor, self.config, listing, self.uri, storage)

    def labels_not_found(self) -> Mapping[str, int]:
        """Return what labels were not found; see `Input`."""
        return self.source.labels_not_found

    def write(
        self, plan: Plan, storage: Storage, predictor: Predictor, stack: contextlib.ExitStack
    ) -> Iterator[Finished]:
        """Decode, embed, predict and write; see `Input`."""
        from raypipe.flow import pipeline

        ready = self._prepared(plan, stack, storage)
        return pipeline.write(
            ready.executor,
            plan.units,
            self.backbone,
            self.reading,
            ready.replicas,
            storage=storage,
            form="parquet",
            predictor=predictor,
        )

    def rows(self, predictor: Predictor, stack: contextlib.ExitStack) -> Iterator[pa.Table]:
        """Decode, embed and predict; see `Input`."""
        from raypipe.flow import pipeline

        listing = stack.enter_context(listed(self, self.config, self.classes))
        if self.config.short_ids:
            shorten(name for batch in listing.batches() for name in batch[schema.ID].to_pylist())
        plan = make_plan(listing, None, self.spec)
        ready = self._prepared(plan, stack)
        found = pipeline.predict(
            ready.executor,
            plan.units,
            self.backbone,
            self.reading,
            ready.replicas,
            predictor=predictor,
        )
        yield from found if self.given else track(found, total=plan.pending, count=len)

    def _prepared(
        self, plan: Plan, stack: contextlib.ExitStack, storage: Storage | None = None
    ) -> Prepared:
        from raypipe.flow.executor import choose
        from raypipe.flow.here import Here
        from raypipe.flow.prepare import prepare, settled

        config, reading = self.config, self.reading
        executor = Here(stays=True) if self.given else choose(config, stack, plan.pending)
        # Not None: the model's store has features of this network.
        kept = settled(storage) if storage else {}
        how = (self.spec.fingerprint, executor.device(), config.batch_size, config.compile)
        ready = prepare(
            executor,
            config,
            self.backbone,
            reading,
            plan,
            self.uri,
            storage,
            stack,
            sizing=None if storage else _SIZINGS.known(how),
            kept=kept,
        )
        _SIZINGS.get(how, lambda: ready.sizing)
        if not self.given:
            say(f"{counted(plan.pending, 'image')} to do, by {ready.replicas.in_words}")
        return ready
