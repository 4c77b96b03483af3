"""Find the images of a store that are most like another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import SimilarConfig
from raypipe.display import printable
from raypipe.errors import RejectedItem, UsageError
from raypipe.heads.head import as_rows
from raypipe.reports.thumbnails import find_uris, thumbnail
from raypipe.rows.features import finite, not_finite, to_array
from raypipe.sources import read_item
from raypipe.storage import local_path, new_file, user_path
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    from raypipe.fit.evaluate.duplicates import Likeness

_MAX_PIXELS = 178_956_970


@dataclass(frozen=True)
class _Found:
    """An image like another one."""

    id: str
    label: str | None
    similarity: float


def run(config: SimilarConfig) -> Outcome:
    """Find similar images; see `SimilarConfig` for the options.

    All rows are compared, in pieces: memory does not grow with the store.

    Raises:
        UsageError: there is no such store or image, or the backbone is not the store's any more.
    """
    from raypipe.fit.evaluate.duplicates import Likeness

    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    if not store.snapshot.rows:
        raise UsageError(f"STORE: {store.uri} has no features yet")
    own = _own_features(store, column, config.image)
    query, uri = own or _embedded(config, store, column)
    likeness = Likeness(lambda: (rows for _, rows in _pieces(store, column)), query.shape[1])
    found = _nearest(store, column, likeness, query, config.k, config.image if own else None)
    summary = {
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "image": config.image,
        "similar": [vars(one) for one in found],
        "out": _draw(config, store, uri, found) if config.out else None,
    }
    return Outcome(summary, _text(found), found)


def _text(found: list[_Found]) -> str:
    rows = [(one.similarity, printable(one.id), printable(one.label or "")) for one in found]
    width = max((len(name) for _, name, _ in rows), default=0)
    return "\n".join(
        f"{cosine:.4f}  {name:{width}}  {label}".rstrip() for cosine, name, label in rows
    )


def _own_features(
    store: StoreReader, column: str, name: str
) -> tuple[npt.NDArray[Any], str] | None:
    """Return the features of an image of the store, and where it is; None if it has none."""
    uris = find_uris(store, [name])
    if not uris:  # which is known before features are read
        return None
    for batch in store.iter_batches([schema.ID, schema.VIEW, column]):
        chosen = batch.filter(
            pc.and_(pc.equal(batch[schema.ID], name), pc.equal(batch[schema.VIEW], 0))
        )
        if len(chosen):
            return as_rows(to_array(chosen[column])), uris[name]
    return None


def _embedded(
    config: SimilarConfig, store: StoreReader, column: str
) -> tuple[npt.NDArray[Any], str]:
    """Return the features of any image, made as those of the store, and where it is."""
    from raypipe.actors.embedder import Embedder  # takes torch
    from raypipe.backbone.loading import load_again
    from raypipe.images.pixels import pixels_of

    uri = config.image if "://" in config.image else str(user_path(config.image, "IMAGE"))
    try:
        pixels = pixels_of(read_item(uri, _MAX_PIXELS), store.spec.preprocess, _MAX_PIXELS)
    except RejectedItem as reject:
        raise UsageError(
            f"IMAGE: {config.image!r} is neither the id of an image in {store.uri} nor one that "
            f"can be read: {reject.reason.value}: {reject.message}"
        ) from None
    outputs = tuple(output for output in store.spec.outputs if output.column == column)
    backbone = load_again(
        store.spec, store.provenance, outputs, backbone=config.backbone, weights=config.weights
    )
    spec = store.spec.model_copy(update={"outputs": outputs, "augment": None})
    return as_rows(Embedder(backbone, spec, batch_size=1)(pixels[None])[column]), uri


def _pieces(store: StoreReader, column: str) -> Iterator[tuple[pa.Table, npt.NDArray[Any]]]:
    """Yield ids and labels of the images themselves, and their features as rows."""
    for batch in store.iter_batches([schema.ID, schema.LABEL, schema.VIEW, column]):
        own = batch.filter(pc.equal(batch[schema.VIEW], 0))
        if len(own):
            rows = as_rows(to_array(own[column]))
            if (bad := ~finite(rows)).any():
                ids = own[schema.ID].filter(pa.array(bad)).to_pylist()
                raise not_finite(len(ids), ids)
            yield own, rows


def _nearest(
    store: StoreReader,
    column: str,
    likeness: Likeness,
    query: npt.NDArray[Any],
    count: int,
    without: str | None,
) -> list[_Found]:
    wanted = likeness.unit(query)[0]
    best: list[_Found] = []
    for table, rows in _pieces(store, column):
        cosines = likeness.unit(rows) @ wanted
        top = np.argsort(-cosines, kind="stable")[: count + 1]
        ids, labels = (table[name].take(top).to_pylist() for name in (schema.ID, schema.LABEL))
        best += map(_Found, ids, labels, cosines[top].tolist())
        best = sorted(best, key=lambda one: (-one.similarity, one.id))[: count + 1]
    return [one for one in best if one.id != without][:count]


def _draw(config: SimilarConfig, store: StoreReader, uri: str, found: list[_Found]) -> str:
    from raypipe.reports.figures import contact_sheet

    out = local_path(str(config.out), "--out")
    uris = find_uris(store, (one.id for one in found))
    rows = [("this image", uri)] + [
        (f"{one.similarity:.3f}\n{one.label or ''}", uris[one.id]) for one in found
    ]
    images = [(caption, thumbnail(place)) for caption, place in rows]
    sheet = [(caption, [image] if image else []) for caption, image in images]
    with new_file(out) as beside:
        contact_sheet(sheet, f"images most like {Path(config.image).name}", beside)
    return str(out)


def main() -> None:
    """Run from the command line."""
    run_job("similar", SimilarConfig)


if __name__ == "__main__":
    main()
