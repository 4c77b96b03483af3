"""The fingerprint says exactly whether features are the same."""

from __future__ import annotations

import pytest

from raypipe.spec import Augment, Output, Preprocess, Spec, difference, digest

BASE = Spec(
    backbone="torchvision/resnet18",
    weights_sha256="a" * 64,
    outputs=(Output(column="features", layer="flatten"),),
)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "torchvision/resnet34"},
        {"source_sha256": "b" * 64},
        {"weights_sha256": "c" * 64},
        {"outputs": (Output(column="features", layer="layer4"),)},
        {"outputs": (Output(column="features", layer="flatten", pool="max"),)},
        {"outputs": (Output(column="other", layer="flatten"),)},
        {"outputs": (*BASE.outputs, Output(column="b", layer="layer4"))},
        {"augment": Augment(views=1, rotate=10)},
        {"augment": Augment(views=1, rotate=10, seed=1)},
        {"precision": "bf16"},
        {"dtype": "float16"},
        {"preprocess": Preprocess(size=225)},
        {"preprocess": Preprocess(mean=(1.0, 0.0, 0.0))},
        {"preprocess": Preprocess(scaled=True)},
        {"revision": BASE.revision + 1},
    ],
)
def test_every_field_changes_the_fingerprint(change: dict[str, object]) -> None:
    changed = BASE.model_copy(update=change)
    assert changed.fingerprint != BASE.fingerprint
    assert len(difference(BASE, changed)) >= 1


def test_fingerprint_survives_json() -> None:
    assert Spec.model_validate_json(BASE.model_dump_json()).fingerprint == BASE.fingerprint


def test_what_is_not_used_is_not_in_the_canonical_form() -> None:
    """Stores from before there was such a thing keep their fingerprint."""
    assert "scaled" not in BASE.model_dump()["preprocess"]
    assert "head" not in BASE.model_dump()


def test_difference_names_field_and_both_values() -> None:
    changed = BASE.model_copy(update={"preprocess": Preprocess(size=96)})
    assert difference(BASE, changed) == ["preprocess.size: 224 → 96"]
    other = BASE.model_copy(update={"outputs": (Output(column="x", layer="fc", pool="max"),)})
    assert difference(BASE, other) == [
        "output features: flatten:avg → None",
        "output x: None → fc:max",
    ]


def test_digest_does_not_run_parts_together() -> None:
    assert digest("ab", "c") != digest("a", "bc")
