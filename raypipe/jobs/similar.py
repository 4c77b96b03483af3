"""Find the images of a store that are most like another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import SimilarConfig
from raypipe.display import printable, say
from raypipe.errors import RejectedItem, UsageError
from raypipe.flow.kept import Kept
from raypipe.heads.head import as_rows
from raypipe.images import Pixels
from raypipe.reports.thumbnails import find_uris, thumbnail, unreadable
from raypipe.rows.excluded import Excluded, read_excluded
from raypipe.rows.features import finite, not_finite, to_array
from raypipe.sources.local import named_uri, path_of
from raypipe.steps.apart import decoded_apart, limited
from raypipe.steps.batch import ReadOptions
from raypipe.storage import local_path, new_file, output_file
from raypipe.storage.paths import is_text
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    from raypipe.actors.embedder import Embedder
    from raypipe.fit.evaluate.duplicates import Likeness

_MAX_PIXELS = 178_956_970

#: Loading a network takes most of a second.
_EMBEDDERS: Kept[Embedder] = Kept()

#: Ids and labels of some images, and their features as rows.
_Piece = tuple[pa.Table, npt.NDArray[Any]]


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

    if config.out is not None:
        output_file(config.out, ".png")
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    if not store.snapshot.rows:
        raise UsageError(f"STORE: {store.uri} has no features yet")
    own = _own_features(store, column, config.image)
    query, uri = own or _embedded(config, store, column)
    ids = (
        batch[schema.ID].to_numpy(zero_copy_only=False) for batch in store.iter_batches([schema.ID])
    )
    excluded = read_excluded(config.exclude, ids)
    pieces = partial(_pieces, store, column, excluded)
    likeness = Likeness(lambda: (rows for _, rows in pieces()), query.shape[1])
    nearest = _nearest(pieces, likeness, query, config.k + 1)
    itself = config.image if own else _of_file(store, nearest, uri)
    found = [one for one in nearest if one.id != itself][: config.k]
    out = _draw(config, store, uri, found) if config.out else None
    summary = {
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "image": config.image,
        "similar": [vars(one) for one in found],
        "excluded": excluded.summary,
        "out": out,
    }
    return Outcome(summary, _text(found), found, exit_code=int(bool(config.out) and not out))


def _text(found: list[_Found]) -> str:
    rows = [("similarity", "image", "label" if any(one.label for one in found) else "")]
    rows += [
        (f"{one.similarity:.4f}", printable(one.id), printable(one.label or "")) for one in found
    ]
    width = max(len(name) for _, name, _ in rows)
    return "\n".join(
        f"{cosine:>10}  {name:{width}}  {label}".rstrip() for cosine, name, label in rows
    )


def _own_features(
    store: StoreReader, column: str, name: str
) -> tuple[npt.NDArray[Any], str] | None:
    """Return the features of an image of the store, and where it is; None if it has none."""
    uris = find_uris(store, [name]) if is_text(name) else {}
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
    uri = named_uri(config.image, "IMAGE")
    outputs = tuple(output for output in store.spec.outputs if output.column == column)
    spec = store.spec.model_copy(update={"outputs": outputs, "augment": None})
    pixels = _decoded(config, store, ReadOptions(spec, _MAX_PIXELS), uri)
    from raypipe.actors.embedder import Embedder  # takes torch, which a wrong image is not to
    from raypipe.backbone.loading import load_again

    def make() -> Embedder:
        given = {"backbone": config.backbone, "weights": config.weights}
        backbone = load_again(store.spec, store.provenance, outputs, **given)
        return Embedder(backbone, spec, batch_size=1)

    same = (store.uri, store.spec.fingerprint, column, config.backbone, config.weights)
    with _EMBEDDERS.one(same, make) as embedder:
        return as_rows(embedder(pixels)[column]), uri


def _decoded(config: SimilarConfig, store: StoreReader, options: ReadOptions, uri: str) -> Pixels:
    """Return the (1, height, width, 3) pixels of an image, decoded as `extract` does: apart."""
    item = {schema.ID: [uri], schema.URI: [uri], schema.ETAG: [""]}
    empty = {schema.LABEL: [None], schema.SPLIT: [None]}
    with limited(options) as within:
        (found,) = decoded_apart(pa.table(item | empty, schema=schema.ITEMS), within)
    if isinstance(found, RejectedItem):
        raise UsageError(
            f"IMAGE: {config.image!r} is neither the id of an image in {store.uri} nor one that "
            f"can be read: {found.reason.value}: {found.message}"
        )
    return found


def _pieces(store: StoreReader, column: str, excluded: Excluded) -> Iterator[_Piece]:
    """Yield ids and labels of the images themselves, and their features as rows."""
    for batch in store.iter_batches([schema.ID, schema.LABEL, schema.VIEW, column]):
        stays = pa.array(excluded.stays(batch[schema.ID]))
        own = batch.filter(pc.and_(pc.equal(batch[schema.VIEW], 0), stays))
        if len(own):
            rows = as_rows(to_array(own[column]))
            if (bad := ~finite(rows)).any():
                ids = own[schema.ID].filter(pa.array(bad)).to_pylist()
                raise not_finite(len(ids), ids)
            yield own, rows


def _nearest(
    pieces: Callable[[], Iterator[_Piece]],
    likeness: Likeness,
    query: npt.NDArray[Any],
    count: int,
) -> list[_Found]:
    wanted = likeness.unit(query)[0]
    best: list[_Found] = []
    for table, rows in pieces():
        cosines = np.clip(likeness.unit(rows) @ wanted, -1, 1)  # which rounding may pass
        top = np.argsort(-cosines, kind="stable")[:count]
        ids, labels = (table[name].take(top).to_pylist() for name in (schema.ID, schema.LABEL))
        best += map(_Found, ids, labels, cosines[top].tolist())
        best = sorted(best, key=lambda one: (-one.similarity, one.id))[:count]
    return best


def _of_file(store: StoreReader, found: list[_Found], uri: str) -> str | None:
    """Return the id of the image that was made from the file at a place; None if none was."""
    from raypipe.flow.ingest import same_place

    place = path_of(uri)
    uris = find_uris(store, (one.id for one in found))
    return next((name for name, own in uris.items() if same_place(path_of(own), place)), None)


def _draw(config: SimilarConfig, store: StoreReader, uri: str, found: list[_Found]) -> str | None:
    """Draw the images found; None, after saying why, if none of them can be read any more."""
    from raypipe.reports.figures import contact_sheet

    out = local_path(str(config.out), "--out")
    uris = find_uris(store, (one.id for one in found))
    rows = [("this image", uri)] + [
        (f"{one.similarity:.3f}\n{one.label or ''}", uris[one.id]) for one in found
    ]
    images = [(caption, thumbnail(place)) for caption, place in rows]
    sheet = [(caption, [image] if image else []) for caption, image in images]
    if not any(image for _, image in images[1:]):
        say(f"--out: no picture is written: {unreadable(rows[-1][1])}")
        return None
    with new_file(out) as beside:
        contact_sheet(sheet, f"images most like {Path(config.image).name}", beside)
    return str(out)


def main() -> None:
    """Run from the command line."""
    run_job("similar", SimilarConfig)


if __name__ == "__main__":
    main()
