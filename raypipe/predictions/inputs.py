"""Inputs of predictions: images, through the backbone in one pass, or a store's features.

    images   units of items  ─ read, decode ─ backbone ─ head ─ write       pipeline.write
    store    its partitions  ─ read ──────────────────── head ─ write       a task for each

Neither Ray nor torch is imported before it is needed: predictions from a store to one file need
neither, and the tasks that read a store's partitions do without torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from raypipe.config import PredictConfig
from raypipe.display import say
from raypipe.flow.plan import Plan
from raypipe.heads.model import TrainedModel
from raypipe.heads.predictor import Predictor
from raypipe.rows.listing import Listing
from raypipe.sources import open_source
from raypipe.spec import Output, Spec
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Finished
from raypipe.storage import Storage

if TYPE_CHECKING:  # it takes Ray, which predictions from a store to a file do without
    from raypipe.runtime import Replicas


def outputs_of(model: TrainedModel, predictor: Predictor) -> tuple[Output, ...]:
    """Return the outputs that predictions take: the head's, and those filtered by."""
    wanted = {model.column, *predictor.filtered}
    return tuple(output for output in model.spec.outputs if output.column in wanted)


class Images:
    """Images of any kind, and the model's backbone.

    Args:
        config: the options.
        model: the model.
        predictor: what is made of the features.

    Raises:
        UsageError: there are no images, or the backbone is not the model's any more.
    """

    by_batch = False  # as `make_plan` has it
    decodes = True

    def __init__(self, config: PredictConfig, model: TrainedModel, predictor: Predictor) -> None:
        from raypipe.backbone.loading import load_again

        self.config = config
        self.source = open_source(config)
        self.uri = self.source.uri
        self.backbone = load_again(
            model.spec,
            model.provenance,
            outputs_of(model, predictor),
            backbone=config.backbone,
            weights=config.weights,
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
        """Yield the items."""
        return self.source.list()

    def left_aside(self) -> Mapping[str, int]:
        """Return how much of the source is no item, by rule."""
        return self.source.aside

    def check_feasible(
        self, listing: Listing, storage: Storage, stack: contextlib.ExitStack
    ) -> None:
        """Make sure that the cluster can do it. Raises UsageError: it cannot."""
        from raypipe.flow.prepare import check_feasible

        check_feasible(self.config, listing, self.uri, storage, stack)

    def write(
        self, plan: Plan, storage: Storage, predictor: Predictor, stack: contextlib.ExitStack
    ) -> Iterator[Finished]:
        """Decode, embed, predict and write; Ray runs until the stack is closed."""
        from raypipe.flow import pipeline

        replicas = self._replicas(plan, stack, storage)
        return pipeline.write(
            plan.units,
            self.backbone,
            self.reading,
            replicas,
            storage=storage,
            form="parquet",
            predictor=predictor,
        )

    def rows(
        self, plan: Plan, predictor: Predictor, stack: contextlib.ExitStack
    ) -> Iterator[pa.Table]:
        """Decode, embed and predict; yield `id`, `label`, `reason`, `message`, predictions."""
        from raypipe.flow import pipeline

        replicas = self._replicas(plan, stack)
        return pipeline.predict(
            plan.units, self.backbone, self.reading, replicas, predictor=predictor
        )

    def _replicas(
        self, plan: Plan, stack: contextlib.ExitStack, storage: Storage | None = None
    ) -> Replicas:
        from raypipe.flow.prepare import prepare, settled

        # Not None: the model's store has features of this network.
        kept = settled(storage) if storage else {}
        _, replicas = prepare(
            self.config, self.backbone, self.reading, plan, self.uri, storage, stack, kept=kept
        )
        say(f"{plan.pending} images, {replicas.max_size} × {replicas.device}")
        return replicas
