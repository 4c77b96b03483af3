"""The part of a page about predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from raypipe import schema
from raypipe.fit.evaluate.tally import Evaluation
from raypipe.heads.model import MODEL_FILES, head_sha256, trained_on_sha256
from raypipe.heads.trained_on import TrainedOn
from raypipe.reports import charts
from raypipe.reports.album import Album
from raypipe.reports.contents import rejected, run_count, runs_of, store_facts
from raypipe.reports.judged import IN_CELL, ON_DIAGONAL, Judged, wilson
from raypipe.reports.page import PagePart, Picture
from raypipe.reports.wording import Facts, grouped, many, spec_facts
from raypipe.storage import is_object
from raypipe.store.reader import StoreReader

_SHOWN = 24
_OF_CLASS = 8
_CLASSES = 60
_TENTHS = 10
_ALL_SEEN = (
    "The model was trained on all of these images: that it is right on them says nothing about "
    "others."
)
_NOT_KNOWN = (
    "Whether the model was trained on some of these images is not known: it is no longer where it "
    "was, or was made by an older version. On such images it is right more often than on others."
)


@dataclass(frozen=True)
class Predictions:
    """What was predicted, whatever it is kept in.

    Attributes:
        pieces: rows with `id`, `uri`, `label` (known, or missing), `predicted` and `probability`.
        rejects: with `id`, `uri` (or not), `reason` and `message`.
        classes: the model's.
        facts: about model and source.
        spec: of the features, in words.
        runs: that have made the predictions, as `contents.runs_of` gives them.
        run_count: how many there were.
        trained: recognises images that the model was trained on, in pieces that have `etag`; None
            if that is not known.
    """

    pieces: Iterable[pa.Table]
    rejects: pa.Table
    classes: tuple[str, ...]
    facts: Facts
    spec: Facts = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    run_count: int = 0
    trained: TrainedOn | None = None


def read_predictions(store: StoreReader) -> Predictions:
    """Return what a store of predictions holds; it is read piece by piece."""
    columns = [schema.ID, schema.URI, schema.ETAG, schema.LABEL]
    columns += [schema.PREDICTED, schema.PROBABILITY]
    if schema.STATUS in store.columns:
        columns.append(schema.STATUS)
    return Predictions(
        pieces=store.iter_batches(columns),
        rejects=store.rejects(),
        classes=tuple(store.provenance["classes"]),
        facts=[("model", str(store.provenance["model"])), *store_facts(store)],
        spec=spec_facts(store.spec, store.provenance),
        runs=runs_of(store),
        run_count=run_count(store),
        trained=_trained(store),
    )


def _trained(store: StoreReader) -> TrainedOn | None:
    """Return what recognises the images that the model was trained on, if it is where it was."""
    place = str(store.provenance["model"])
    if is_object(place) or not (Path(place) / MODEL_FILES[0]).is_file():
        return None
    try:
        same = store.spec.head is not None and head_sha256(Path(place)) == store.spec.head.sha256
        return TrainedOn.load(Path(place), trained_on_sha256(Path(place))) if same else None
    except (OSError, ValueError, KeyError):  # another model is being written there
        return None


def predictions_part(found: Predictions, album: Album) -> PagePart:
    """Return the part about predictions: how many of each class, how sure, and how good if known.

    Args:
        found: the predictions.
        album: gets the pictures.
    """
    seen = _Seen(found.classes, found.trained)
    for piece in found.pieces:
        seen.add(piece)
    classes = seen.by_class()
    unsure = seen.pictures(np.argsort(seen.probability, kind="stable")[:_SHOWN])
    scores, data = seen.scores(album)
    named = [*unsure, *(picture for entry in classes for picture in entry["pictures"])]
    album.add([str(picture.uri) for picture in named if picture.uri], share=0.9)
    content = {
        "facts": found.facts,
        "spec": found.spec,
        "status": seen.status.most_common(),
        "classes": classes,
        "histogram": Markup(charts.histogram(seen.tenths)),
        "unsure": unsure,
        "rejects": rejected(found.rejects, album),
        "scores": scores,
        "runs": found.runs,
        "run_count": found.run_count,
        "rows": seen.rows,
        "decided": sum(seen.counts.values()),
        "pictured": sum(bool(entry["pictures"]) for entry in classes),
    }
    return PagePart("predictions.html", "Predictions", _headline(seen, scores), content, data)


def _headline(seen: _Seen, scores: dict[str, Any] | None) -> str:
    made = f"Predictions for {many(seen.rows, 'image')}"
    if scores is None:
        return f"{made}: {many(len(seen.counts), 'class', 'classes')}, right or not is not known"
    if scores["accuracy"] is None:
        return f"{made}, none of which can be scored"
    known = " that the model was trained on" if scores["all_seen"] else ""
    new = " of the new ones" if scores["beside"] else ""
    return f"{made}{known}: {100 * scores['accuracy']:.1f}\u00a0%{new} right"


class _Seen:
    """Counts of all rows, and those rows that may be shown; memory does not grow with the others.

    Args:
        classes: the model's.
        trained: recognises images that it was trained on; None if that is not known.
    """

    def __init__(self, classes: tuple[str, ...], trained: TrainedOn | None = None) -> None:
        self.classes = classes
        self.trained = trained
        self.rows = 0
        self.evaluation, self.new = Evaluation(classes), Evaluation(classes)
        self.status: Counter[str] = Counter()
        self.tenths = np.zeros(_TENTHS, np.int64)
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.kept: pa.Table | None = None

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """(M,) of the rows that are kept."""
        return np.zeros(0) if self.kept is None else _numbers(self.kept[schema.PROBABILITY])

    def add(self, rows: pa.Table) -> None:
        """Count rows, and keep what may be shown of them."""
        self.rows += len(rows)
        if schema.STATUS in rows.column_names:
            for entry in rows[schema.STATUS].value_counts().to_pylist():
                self.status[entry["values"]] += entry["counts"]
            rows = rows.drop_columns([schema.STATUS])
        decided = rows.filter(pc.is_valid(rows[schema.PREDICTED]))
        self.evaluation.add(decided)
        if self.trained is not None and schema.ETAG in decided.column_names:
            labelled = decided.filter(pc.is_valid(decided[schema.LABEL]))
            self.new.add(labelled.filter(pa.array(~self.trained.seen(labelled))))
        probability = _numbers(decided[schema.PROBABILITY])
        self.tenths += np.histogram(probability, bins=_TENTHS, range=(0, 1))[0]
        sums = decided.group_by(schema.PREDICTED).aggregate(
            [(schema.PROBABILITY, "sum"), (schema.PROBABILITY, "count")]
        )
        for name, total, count in zip(*(column.to_pylist() for column in sums), strict=True):
            self.sums[name] += total
            self.counts[name] += count
        both = decided if self.kept is None else pa.concat_tables([self.kept, decided])
        self.kept = both.take(self._worth_showing(both))

    def _worth_showing(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return rows that are among the surest or the least sure of their kind."""
        probability = _numbers(rows[schema.PROBABILITY])
        label, predicted = (
            np.asarray(rows[name].fill_null("").to_pylist(), object)
            for name in (schema.LABEL, schema.PREDICTED)
        )
        rising = np.argsort(probability, kind="stable")
        chosen = set(rising[:_SHOWN].tolist())
        seen: Counter[tuple[str, ...]] = Counter()

        def take(row: int, kind: tuple[str, ...], most: int) -> None:
            seen[kind] += 1
            if seen[kind] <= most:
                chosen.add(row)

        for row in rising[::-1].tolist():
            take(row, (predicted[row],), _OF_CLASS)
            if label[row] != predicted[row]:
                take(row, (label[row], predicted[row]), IN_CELL)
        for row in rising.tolist():
            if label[row] == predicted[row]:
                take(row, (label[row], predicted[row]), ON_DIAGONAL)
        return np.array(sorted(chosen), np.int64)

    def by_class(self) -> list[dict[str, Any]]:
        """Return the classes that were predicted, the most frequent first, with their surest
        images.
        """
        names = np.array([] if self.kept is None else self.kept[schema.PREDICTED].to_pylist())
        falling = np.argsort(-self.probability, kind="stable")
        return [
            {
                "name": name,
                "count": count,
                "probability": self.sums[name] / count,
                "pictures": self.pictures(falling[names[falling] == name][:_OF_CLASS])
                if rank < _CLASSES
                else [],
            }
            for rank, (name, count) in enumerate(self.counts.most_common())
        ]

    def pictures(self, numbers: npt.NDArray[np.int64]) -> list[Picture]:
        """Return rows that are kept as pictures."""
        if self.kept is None:
            return []
        return [
            Picture(
                row[schema.ID],
                row[schema.URI],
                f"{row[schema.PREDICTED]} {row[schema.PROBABILITY]:.2f}",
            )
            for row in self.kept.take(numbers).to_pylist()
        ]

    def scores(self, album: Album) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Return how good the predictions are, where labels that the model knows are there."""
        result = self.evaluation.result()
        if self.kept is None or not result["rows"]:
            return None, {}
        known = pc.is_in(self.kept[schema.LABEL], pa.array(self.classes, pa.string()))
        rows = self.kept.filter(known)
        places = dict(zip(rows[schema.ID].to_pylist(), rows[schema.URI].to_pylist(), strict=True))
        judged = Judged(
            ids=rows[schema.ID].to_numpy(),
            labels=rows[schema.LABEL].to_numpy(),
            predicted=rows[schema.PREDICTED].to_numpy(),
            probability=_numbers(rows[schema.PROBABILITY]),
            classes=self.classes,
        )

        def uris(names: Iterable[str]) -> dict[str, str]:
            return {name: places[name] for name in names if places[name] is not None}

        content, data = judged.show(result["confusion"], result["report"], album, uris)
        return content | self._on_new(result), data

    def _on_new(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the accuracy on images that are new to the model, and what is said before it."""
        if self.trained is None:
            return {"first": _NOT_KNOWN, "beside": "", "all_seen": False}
        new, rows = self.new.result(), result["rows"]
        seen = rows - new["rows"]
        if not seen:
            return {"first": "", "beside": "", "all_seen": False}
        if seen == rows:
            return {"first": _ALL_SEEN, "beside": "", "all_seen": True}
        every = f"{100 * result['accuracy']:.1f} %"
        return {
            "first": f"The model was trained on {grouped(seen)} of these {many(rows, 'image')}. "
            "The accuracy leaves them out; matrix and classes below count all.",
            "beside": f"{every} with the {many(seen, 'image')} that it was trained on",
            "accuracy": new["accuracy"],
            "interval": wilson(round(new["accuracy"] * new["rows"]), new["rows"]),
            "rows": new["rows"],
            "kind": ("image that is new to it", "images that are new to it"),
            "all_seen": False,
        }


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.to_numpy(), np.float64)
