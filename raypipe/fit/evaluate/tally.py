"""Predictions compared with the labels that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.display import counted, printable
from raypipe.errors import UsageError
from raypipe.fit.evaluate.scores import scores_of

_NAMED = 5
_SHOWN_CLASSES = 12


def check_labels(batches: Iterable[pa.RecordBatch], classes: tuple[str, ...]) -> None:
    """Make sure that predictions can be compared with labels.

    Args:
        batches: items, with `label`.
        classes: the model's.

    Raises:
        UsageError: no item has a label, or one has a label that the model does not know.
    """
    known = pa.array(classes, pa.string())
    strange: dict[str, None] = {}
    items = labelled = 0
    for batch in batches:
        labels = batch[schema.LABEL].drop_null()
        items, labelled = items + len(batch), labelled + len(labels)
        others = labels.filter(pc.invert(pc.is_in(labels, known)))
        strange |= dict.fromkeys(others.unique().to_pylist())
    if strange:
        found = sorted(strange)
        raise UsageError(
            f"--evaluate: the model does not know {_some(found)}; its classes are "
            f"{_some(classes)}; take other images only (--glob), or predict without --evaluate"
        )
    if not labelled:
        raise UsageError(
            f"--evaluate: none of {items} images has a label to compare with; see --label"
        )


class Evaluation:
    """Counts of known labels against predicted ones; takes K × K numbers, however many rows.

    Args:
        classes: the model's K classes.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._known = pa.array(classes, pa.string())
        self._confusion = np.zeros(len(classes) ** 2, np.int64)
        self._unlabelled = self._undecided = 0

    def add(self, rows: pa.Table) -> None:
        """Count rows with `label` and `predicted`; either may be missing."""
        truth, predicted = (self._codes(rows[n]) for n in (schema.LABEL, schema.PREDICTED))
        self._unlabelled += int((truth < 0).sum())
        self._undecided += int(((truth >= 0) & (predicted < 0)).sum())
        both = (truth >= 0) & (predicted >= 0)
        cells = truth[both] * len(self.classes) + predicted[both]
        self._confusion += np.bincount(cells, minlength=len(self._confusion))

    def result(self) -> dict[str, Any]:
        """Return the scores, of rows with a known label of the model's and a predicted one.

        `undecided_rows` have a known label and were given none (threshold, filters): they are not
        in the scores, and `coverage` is the share of the others. `unlabelled_rows` have no label
        that the model knows. `accuracy` is None if no row is left. `report`, also as
        `report_text`, is that of `scores_of`; rows of `confusion` are the known classes, columns
        the predicted ones, in the order of `classes`.
        """
        found = scores_of(self._confusion.reshape(len(self.classes), -1), self.classes)
        rows = int(self._confusion.sum())
        labelled = rows + self._undecided
        return {
            "accuracy": found["accuracy"],
            "rows": rows,
            "unlabelled_rows": self._unlabelled,
            "undecided_rows": self._undecided,
            "coverage": rows / labelled if labelled else None,
            "classes": list(self.classes),
            **{name: found[name] for name in ("confusion", "report", "report_text")},
        }

    def _codes(self, names: pa.ChunkedArray) -> np.ndarray[Any, Any]:
        found = pc.index_in(names.combine_chunks(), value_set=self._known)
        codes: np.ndarray[Any, Any] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        return codes.astype(np.int64)


class Tally:
    """Counts predictions by class and by status, and compares them with known labels if asked to.

    Args:
        classes: the model's classes.
        evaluate: whether to compare.
        seen: ids of rows that the model was trained on; None if that is not known.

    Attributes:
        scores: the comparison, or None.
    """

    def __init__(
        self, classes: tuple[str, ...], *, evaluate: bool, seen: pa.Array | None = None
    ) -> None:
        self.scores = Evaluation(classes) if evaluate else None
        self._seen, self._others = seen, Evaluation(classes)
        self._counts: dict[str, Counter[str]] = {}

    def add(self, rows: pa.Table) -> None:
        """Count rows, as far as they have `predicted`, `status` and `label`."""
        for name in {schema.PREDICTED, schema.STATUS} & set(rows.column_names):
            counts = self._counts.setdefault(name, Counter())
            for entry in rows[name].drop_null().value_counts().to_pylist():
                counts[entry["values"]] += entry["counts"]
        if self.scores:
            self.scores.add(rows)
            if self._seen is not None:
                self._others.add(rows.filter(pc.invert(pc.is_in(rows[schema.ID], self._seen))))

    def evaluation(self) -> dict[str, Any] | None:
        """Return the scores of all rows, and what is left without those the model was trained on.

        `training_rows` are those among the scored ones, None if that is not known;
        `accuracy_without_training_rows` is None then, or if no other row is left.
        """
        if self.scores is None:
            return None
        every, others = self.scores.result(), self._others.result()
        known = self._seen is not None
        return every | {
            "training_rows": every["rows"] - others["rows"] if known else None,
            "accuracy_without_training_rows": others["accuracy"],
        }

    @property
    def summary(self) -> dict[str, Any]:
        """`labels`: rows by predicted class; `status`: rows by status, where there is one."""
        labels = self._counts.get(schema.PREDICTED, Counter())
        status = self._counts.get(schema.STATUS)
        found: dict[str, Any] = {"labels": dict(sorted(labels.items()))}
        return found | ({"status": dict(sorted(status.items()))} if status is not None else {})


def trained_on(scores: dict[str, Any]) -> list[str]:
    """Return a line on scores of images that the model was trained on, if there are any."""
    seen, rows = scores["training_rows"], scores["rows"]
    if seen is None:
        return [
            "whether the model was trained on some of these images cannot be known: it was made "
            "by an older version; `raypipe train` again records it"
        ]
    if not seen:
        return []
    if seen == rows:
        return ["the model was trained on all of these images: its scores say nothing of new ones"]
    return [
        f"the model was trained on {seen} of these {counted(rows, 'image')}; accuracy on the other "
        f"{rows - seen}: {scores['accuracy_without_training_rows']:.4f}"
    ]


def text_of(scores: dict[str, Any]) -> list[str]:
    """Return the scores as lines for people."""
    if scores["accuracy"] is None:
        return ["no row with a known and a predicted label to score"]
    lines = [scores["report_text"].rstrip("\n")]
    if len(scores["classes"]) <= _SHOWN_CLASSES:
        names = [printable(name) for name in scores["classes"]]
        width = max(map(len, names))
        digits = max(5, len(str(scores["rows"])))
        lines.append("confusion (a line per known class, a column per predicted one)")
        for name, counts in zip(names, scores["confusion"], strict=True):
            lines.append(f"  {name:>{width}} " + " ".join(f"{n:>{digits}}" for n in counts))
    left_out = [
        f"{scores[f'{what}_rows']} {what}"
        for what in ("unlabelled", "undecided")
        if scores[f"{what}_rows"]
    ]
    rest = f", {', '.join(left_out)} left out" if left_out else ""
    lines.append(f"accuracy: {scores['accuracy']:.4f} on {counted(scores['rows'], 'image')}{rest}")
    return lines


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(map(repr, shown[:_NAMED])) + more
