"""A store's features as what predictions are made of.

    its partitions  ─ read ─ head ─ write       a task for each

Predictions to one table take neither Ray nor torch, and the tasks do without torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import LabelConfig, PredictConfig
from raypipe.display import say, track
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.evaluate.tally import check_labels
from raypipe.flow.plan import Plan
from raypipe.heads.model import TrainedModel
from raypipe.heads.predictor import Predictor, to_arrow
from raypipe.rows.features import finite, not_finite, to_array
from raypipe.rows.listing import Listing
from raypipe.spec import Output, Spec, difference
from raypipe.steps.cost import Cost, Finished
from raypipe.steps.write import from_block, to_block
from raypipe.storage import Storage, open_storage
from raypipe.store.identity import SPEC_FILE
from raypipe.store.partition import write_unit
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    pass

Batch = dict[str, npt.NDArray[Any]]


def outputs_of(model: TrainedModel, predictor: Predictor) -> tuple[Output, ...]:
    """Return the outputs that predictions take: the head's, and those filtered by."""
    wanted = {model.column, *predictor.filtered}
    return tuple(output for output in model.spec.outputs if output.column in wanted)


class Stored:
    """The features of a store, of the images themselves; an `Input`.

    Args:
        config: the options.
        model: the model.
        predictor: what is made of the features.

    Raises:
        UsageError: the features are not those the model was trained on.
    """

    by_batch, decodes = True, False

    def __init__(self, config: PredictConfig, model: TrainedModel, predictor: Predictor) -> None:
        self.config, self.classes = config, model.classes
        self.store = StoreReader(config.source, option="SOURCE")
        self.uri = self.store.uri
        _check_options(config)
        if self.store.spec.head:
            raise UsageError(f"SOURCE: {self.uri} holds predictions; give images or features")
        if self.store.spec != model.spec:
            raise UsageError(
                "SOURCE: the store's features differ from those the model was trained on: "
                + "; ".join(difference(model.spec, self.store.spec))
            )
        if not self.store.snapshot.rows:
            raise UsageError(f"SOURCE: {self.uri} has no features yet")
        if (views := self.store.spec.augment) and not views.original:
            raise UsageError(
                f"SOURCE: a prediction is of the image itself, and {self.uri} holds random views "
                "of images alone (--no-original); give the images"
            )
        outputs = outputs_of(model, predictor)
        changes = {"outputs": outputs, "augment": None, "head": predictor.spec}
        self.spec: Spec = model.spec.model_copy(update=changes)

    def items(self) -> Iterator[pa.RecordBatch]:
        """Yield the items of each partition as one batch, empty where none of its rows counts."""
        for number in range(len(self.store.snapshot.data)):
            yield _items(self.store, number)

    def left_aside(self) -> Mapping[str, int]:
        """Return nothing: each row of a store counts."""
        return {}

    def check_feasible(
        self, _listing: Listing | None, storage: Storage, stack: contextlib.ExitStack
    ) -> None:
        """Make sure that every node sees both stores; see `Input`."""
        from raypipe import runtime

        stack.enter_context(runtime.session(self.config.address, wait=self.config.wait_for))
        runtime.check_reach([], "", storage)
        if self.store.storage.folder is not None:
            runtime.check_seen([self.store.storage.folder / SPEC_FILE], self.uri, "SOURCE")

    def labels_not_found(self) -> Mapping[str, int]:
        """Return nothing: a store has the labels that it has."""
        return {}

    def write(
        self, plan: Plan, storage: Storage, predictor: Predictor, stack: contextlib.ExitStack
    ) -> Iterator[Finished]:
        """Read, predict and write, a task per partition; Ray runs until the stack is closed."""
        import ray

        from raypipe import runtime

        self.check_feasible(None, storage, stack)
        say(f"{plan.pending} of {plan.items} rows to do, in {len(plan.units)} partitions")
        rows = [{"unit": u.id, "batch": u.batch, "items": u.data} for u in plan.units]
        step = partial(
            predict_partition,
            uri=self.uri,
            snapshot=self.store.snapshot.number,
            spec=self.spec,
            predictor=predictor,
            root=storage.uri,
        )
        flow = ray.data.from_items(rows, override_num_blocks=len(rows))
        for block in runtime.stream(flow.map_batches(step, batch_size=None, num_cpus=1)):
            yield from_block(block)

    def rows(self, predictor: Predictor, stack: contextlib.ExitStack) -> Iterator[pa.Table]:  # noqa: ARG002
        """Read and predict here, piece by piece; see `Input`.

        Probabilities are in the head's own precision.
        """
        if self.config.evaluate:
            check_labels(self.items(), self.classes)
        count = len(self.store) // self.store.spec.views
        yield from track(self._rows(predictor), total=count, count=len)

    def _rows(self, predictor: Predictor) -> Iterator[pa.Table]:
        exact = replace(predictor, exact=True)
        for number in range(len(self.store.snapshot.data)):
            for piece in _pieces(self.store, number, self.spec):
                none = pa.array([""] * len(piece), pa.string())
                items = {name: piece[name] for name in (schema.ID, schema.LABEL)}
                columns = to_arrow(exact(_features(piece, self.spec)))
                yield pa.table(items | {schema.REASON: none, schema.MESSAGE: none} | columns)


def predict_partition(
    batch: Batch, *, uri: str, snapshot: int, spec: Spec, predictor: Predictor, root: str
) -> pa.Table:
    """Read a partition's features, predict, write the partition of predictions.

    Args:
        batch: one row: the new partition's unit, its items, and which partition has them.
        uri: the store with the features.
        snapshot: the snapshot of it whose partitions are counted.
        spec: of the predictions.
        predictor: what is made of the features.
        root: the store for the predictions.

    Returns:
        A row for each file that was written.
    """
    items = pa.ipc.open_stream(batch["items"][0]).read_all()
    found: list[Batch] = []
    for piece in _pieces(StoreReader(uri, snapshot), int(batch["batch"][0]), spec):
        rows = piece.filter(pc.is_in(piece[schema.ID], items[schema.ID].combine_chunks()))
        found.append(predictor(_features(rows, spec)))
    columns = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    if {len(values) for values in columns.values()} != {len(items)}:
        raise RaypipeError(f"SOURCE: {uri} has changed while it was read")
    files = write_unit(
        open_storage(root),
        str(batch["unit"][0]),
        spec.fingerprint,
        rows=items,
        features=columns,
        rejects=schema.REJECTS.empty_table(),
    )
    return to_block(Finished(files, Cost(images=len(items))))


def _items(store: StoreReader, number: int) -> pa.RecordBatch:
    names = schema.ITEMS.names
    pieces = [
        piece.filter(pc.equal(piece[schema.VIEW], 0)).select(names).cast(schema.ITEMS)
        for piece in store.iter_part(number, [*names, schema.VIEW])
    ]
    table = pa.concat_tables([schema.ITEMS.empty_table(), *pieces]).combine_chunks()
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.ITEMS)


def _pieces(store: StoreReader, number: int, spec: Spec) -> Iterator[pa.Table]:
    """Yield the rows of the images themselves, with the features that predictions take."""
    features = [output.column for output in spec.outputs]
    for piece in store.iter_part(number, [schema.ID, schema.LABEL, schema.VIEW, *features]):
        yield piece.filter(pc.equal(piece[schema.VIEW], 0))


def _features(piece: pa.Table, spec: Spec) -> Batch:
    found = {output.column: to_array(piece[output.column]) for output in spec.outputs}
    bad = ~np.logical_and.reduce([finite(values) for values in found.values()])
    if bad.any():
        raise not_finite(int(bad.sum()), piece[schema.ID].filter(pa.array(bad)).to_pylist())
    return found


def _check_options(config: PredictConfig) -> None:
    """A store has its items, labels and splits; what would choose them goes with images."""
    for name, info in LabelConfig.model_fields.items():
        is_given = getattr(config, name) != info.get_default()
        if name not in ("source", "max_pixels") and is_given:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} goes with images; SOURCE is a store")
