"""Filters, predictors, files and scores, on arrays alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import classification_report, confusion_matrix

from raypipe import schema
from raypipe.cli.options import resolve
from raypipe.config import PredictConfig
from raypipe.config.values import Filter
from raypipe.errors import UsageError
from raypipe.fit.evaluate.tally import Evaluation, check_labels, text_of
from raypipe.heads.filters import check_filters
from raypipe.heads.model import head_sha256
from raypipe.heads.predictor import Predictor, to_arrow
from raypipe.predictions.class_names import with_names
from raypipe.predictions.table import in_order, write
from raypipe.spec import HeadSpec, Output, Spec, difference
from tests.support.stores import make_spec

CLASSES = ("a", "b", "c")


class Given:
    """A head whose probabilities are its features."""

    classes = CLASSES

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return features


def head(**changes: object) -> HeadSpec:
    return HeadSpec(sha256="h", classes_sha256="c", column="features", **changes)


@pytest.mark.parametrize(
    ("text", "canonical", "inside", "outside"),
    [
        ("n=151:268", "n=151:268", [151, 200, 268], [150, 269]),
        ("n=5", "n=5:5", [5], [4, 6]),
        ("n = -2.5 : 1e3", "n=-2.5:1000", [-2, 0, 1000], [-3, 1001]),
        ("n=10:", "n=10:", [10, 10**9], [9]),
        ("n=:10", "n=:10", [10, -(10**9)], [11]),
    ],
)
def test_filters(text: str, canonical: str, inside: list[int], outside: list[int]) -> None:
    one = Filter.parse(text)
    assert (one.text, one.canonical.text) == (text, canonical)
    assert one.canonical == Filter.parse(canonical)
    assert one.accepts(np.array(inside)).all()
    assert not one.accepts(np.array(outside)).any()


@pytest.mark.parametrize(
    "text", ["n", "n=", "=1:2", "n=:", "n=2:1", "n=a:b", "n=1:2:3", "n=nan", "n=inf:", "n=1=2"]
)
def test_malformed_filters(text: str) -> None:
    given = {"model": "m", "source": "s", "out": "o.csv", "where": [text]}
    with pytest.raises(UsageError, match="--where must be COLUMN=LOW:HIGH .*; got 'n?=?"):
        resolve(PredictConfig, given, environment={})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("knd=1", "no column 'knd'; those with one number per image are: kind, status; did you"),
        ("features=1", "'features' has many numbers per image; .* are: kind, status"),
        ("status=1", "'status' is also a column of the predictions"),
    ],
)
def test_filters_on_what_is_not_there(text: str, words: str) -> None:
    outputs = tuple(
        Output(column=name, layer=name, pool="avg" if name == "features" else "argmax")
        for name in ("features", "kind", "status")
    )
    with pytest.raises(UsageError, match=words):
        check_filters((Filter.parse(text),), outputs, ("status",))
    check_filters((Filter.parse("kind=1:2"),), outputs, ("status",))


def test_threshold_and_filters_leave_rows_without_a_label() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]])
    kind = np.array([1, 2, 9, 9], np.int32)
    spec = head(top_k=2, probabilities=True, threshold=0.6, where=("kind=1:5",))
    columns = Predictor(Given(), spec)({"features": p, "kind": kind})
    assert tuple(columns) == (*spec.columns, "kind")
    assert columns["status"].tolist() == ["below_threshold", "ok", "filtered", "filtered"]
    assert columns["predicted"].tolist() == [None, "b", None, None]
    assert columns["predicted_2"].tolist() == [None, "a", None, None]
    np.testing.assert_array_equal(columns["probability"], np.float32([0.5, 0.8, 0.6, 0.9]))
    np.testing.assert_array_equal(columns["probabilities"], p.astype(np.float32))
    plain = Predictor(Given(), head(threshold=0.6))({"features": p})
    assert plain["predicted"].tolist() == [None, "b", "c", "a"]  # 0.6 is not below 0.6
    none = Predictor(Given(), spec)({"features": p[:0], "kind": kind[:0]})
    assert [len(values) for values in none.values()] == [0] * len(none)


def test_one_file_in_order(tmp_path: Path) -> None:
    rows = pa.table(
        {"id": ["x/10.png", "x/2.png"]}
        | to_arrow({"predicted": np.array([None, "b"], object), "probability": np.float64([1, 2])})
    )
    table = in_order(rows, "natural", short_ids=True, only=None)
    assert table.to_pydict() == {"id": ["2", "10"], "label": ["b", None], "probability": [2, 1]}
    write(table, tmp_path / "p.csv")
    assert list(csv.reader((tmp_path / "p.csv").open()))[2] == ["10", "", "1"]
    only = in_order(rows.drop_columns(["predicted"]), "id", short_ids=False, only="b")
    assert only.column_names == ["id", "label"]


def test_evaluation_is_scikit_learns() -> None:
    noise = np.random.default_rng(0)
    truth, predicted = (np.array(CLASSES, object)[noise.integers(0, 3, 200)] for _ in range(2))
    evaluation = Evaluation(CLASSES)
    for part in (slice(0, 70), slice(70, 200)):
        evaluation.add(pa.table({"label": truth[part], "predicted": predicted[part]}))
    evaluation.add(pa.table({"label": ["a", None, None], "predicted": [None, "a", None]}))
    scores = evaluation.result()
    assert scores["confusion"] == confusion_matrix(truth, predicted).tolist()
    assert scores["report_text"] == classification_report(truth, predicted, digits=3)
    assert scores["report"] == classification_report(truth, predicted, output_dict=True)
    assert scores["accuracy"] == np.mean(truth == predicted)
    assert (scores["rows"], scores["unlabelled_rows"], scores["undecided_rows"]) == (200, 2, 1)
    assert scores["coverage"] == 200 / 201
    text = "\n".join(text_of(scores))
    assert "on 200 images, 2 unlabelled, 1 undecided left out" in text
    json.dumps(scores)


def test_a_class_that_does_not_occur_is_in_no_mean() -> None:
    """scikit-learn has the same figures where it is asked for the classes that occur alone."""
    classes = ("a", "b", "c", "never", "wrongly")
    noise = np.random.default_rng(0)
    truth = np.array(classes, object)[noise.integers(0, 2, 100)]  # of a and b
    predicted = np.array([*"abcc", "wrongly"], object)[noise.integers(0, 5, 100)]
    predicted[predicted == "b"] = "a"
    evaluation = Evaluation(classes)
    evaluation.add(pa.table({"label": truth, "predicted": predicted}))
    scores = evaluation.result()
    given = {"output_dict": True, "zero_division": 0}
    occur = classification_report(truth, predicted, labels=["a", "b"], **given)
    every = classification_report(truth, predicted, labels=classes, **given)
    for name in ("a", "b", "macro avg", "weighted avg"):
        assert scores["report"][name] == pytest.approx(occur[name])
    assert scores["report"]["b"]["precision"] == 0  # it occurs, and is never predicted
    assert scores["report"]["macro avg"]["recall"] == pytest.approx(
        every["macro avg"]["recall"] * 5 / 2
    )
    nothing = {"recall": None, "f1-score": None, "support": 0}
    assert scores["report"]["wrongly"] == {"precision": 0, **nothing}
    assert scores["report"]["never"] == {"precision": None, **nothing}
    lines = scores["report_text"].splitlines()
    assert lines[5].split() == ["never", "–", "–", "–", "0"]
    assert lines[6].split() == ["wrongly", "0.000", "–", "–", "0"]
    assert len(set(map(len, lines[2:7]))) == 1
    assert lines[-1] == "macro avg: of the 2 of 5 classes that occur"
    json.dumps(scores, allow_nan=False)


def test_evaluation_of_nothing() -> None:
    evaluation = Evaluation(CLASSES)
    nothing = pa.array([None], pa.string())
    evaluation.add(pa.table({"label": ["a"], "predicted": nothing}))
    scores = evaluation.result()
    assert (scores["accuracy"], scores["coverage"]) == (None, 0)
    assert text_of(scores) == ["no row with a known and a predicted label to score"]


def test_labels_that_the_model_does_not_know() -> None:
    def items(*labels: str | None) -> list[pa.RecordBatch]:
        return [pa.record_batch({"label": pa.array(labels, pa.string())})]

    check_labels(items("a", None), CLASSES)
    with pytest.raises(UsageError, match="not know 'q', 'r', 's', 't', 'u' and 2 more; its classes "
                       "are 'a', 'b', 'c'"):  # fmt: skip
        check_labels(items(*"wvutsrqa"), CLASSES)
    with pytest.raises(UsageError, match="none of 2 images has a label"):
        check_labels(items(None, None), CLASSES)


def test_fingerprints_of_features_are_what_they_were() -> None:
    """As computed before a spec could name a head."""
    spec = make_spec(("features", "map"), views=3, precision="bf16")
    known = "ffedaa101b8d693512065d9b6842df1939de75980e3109353bea1dc5ccefee62"
    assert spec.fingerprint == known
    assert "head" not in spec.model_dump(mode="json")
    assert Spec.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.columns == ("features", "map")


def test_every_field_of_a_head_changes_the_fingerprint() -> None:
    base = make_spec(("features", "map")).model_copy(update={"head": head()})
    seen = {base.fingerprint, make_spec(("features", "map")).fingerprint}
    for change in (
        {"top_k": 2},
        {"probabilities": True},
        {"threshold": 0.5},
        {"where": ("map=1:2",)},
    ):
        other = base.model_copy(update={"head": head(**change)})
        assert Spec.model_validate_json(other.model_dump_json()) == other
        (name,) = change
        (line,) = difference(base, other)
        assert line.startswith(f"head.{name}: ")
        assert other.fingerprint not in seen
        seen.add(other.fingerprint)
    assert base.columns == (schema.PREDICTED, schema.PROBABILITY, "map")


def test_checksum_of_a_head(tmp_path: Path) -> None:
    def folder(name: str, arrays: bytes, **content: object) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(json.dumps(content))
        (tmp_path / name / "arrays.safetensors").write_bytes(arrays)
        return tmp_path / name

    one = head_sha256(folder("1", b"x", head={"kind": "k", "n": 1}, metrics=1))
    assert one == head_sha256(folder("2", b"x", metrics=2, head={"n": 1, "kind": "k"}))
    assert one != head_sha256(folder("3", b"y", head={"kind": "k", "n": 1}))
    assert one != head_sha256(folder("4", b"x", head={"kind": "k", "n": 2}))


def test_names_of_imagenets_classes() -> None:
    rows = pa.table({"id": ["a", "b"], "kind": pa.array([207, 0], pa.int32()), "n": [1, 2]})
    found = with_names(rows, ["kind"])
    assert found.column_names == ["id", "kind", "kind_name", "n"]
    assert found["kind_name"].to_pylist() == ["golden retriever", "tench"]
    other = pa.table({"kind": pa.array([3, 1000], pa.int32())})
    with pytest.raises(UsageError, match="numbers of 0 to 999; 'kind' has 3 to 1000; leave it out"):
        with_names(other, ["kind"])
