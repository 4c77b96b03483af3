"""Units: every missing item once, the same units for the same work."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.flow.plan import Plan, make_plan, unit_length
from raypipe.rows.listing import Listing
from raypipe.rows.versions import Versions
from raypipe.spec import Augment, Output, Preprocess, Spec

SPEC = Spec(backbone="b", weights_sha256="w", outputs=(Output(column="features", layer="l"),))


def items(count: int, **changed: str) -> pa.Table:
    """`count` items; `changed` maps an id to another etag."""
    ids = [f"i{n:05d}" for n in range(count)]
    rows = [{"id": i, "uri": f"/{i}", "etag": changed.get(i, "1")} for i in ids]
    return pa.Table.from_pylist(rows, schema=schema.ITEMS)


def plan_of(
    listed: pa.Table, covered: pa.Table | None = None, spec: Spec = SPEC, chunk: int = 300
) -> Plan:
    with Listing(listed.to_batches(max_chunksize=chunk)) as listing:
        return make_plan(listing, covered, spec)


def test_every_item_is_in_exactly_one_unit() -> None:
    plan = plan_of(items(1000), items(0))
    ids = [i for unit in plan.units for i in unit.items["id"].to_pylist()]
    assert ids == items(1000)["id"].to_pylist()
    assert len({unit.id for unit in plan.units}) == len(plan.units) == 16
    assert [unit.count for unit in plan.units] == [64] * 15 + [40]


def test_units_do_not_depend_on_how_the_listing_arrives() -> None:
    small, large = (plan_of(items(1000), chunk=chunk) for chunk in (7, 1000))
    assert [unit.id for unit in small.units] == [unit.id for unit in large.units]


def test_units_of_an_interrupted_run_are_made_again() -> None:
    first = plan_of(items(1000))
    done = pa.concat_tables([first.units[2].items, first.units[5].items])
    second = plan_of(items(1000), done)
    rest = [unit.id for i, unit in enumerate(first.units) if i not in (2, 5)]
    assert [unit.id for unit in second.units] == rest


def test_new_changed_and_gone() -> None:
    plan = plan_of(items(12, i00003="2"), items(10))
    assert [unit.items["id"].to_pylist() for unit in plan.units] == [["i00003", "i00010", "i00011"]]
    assert (plan.pending, plan.changed, plan.gone.to_pylist()) == (3, 1, [])
    assert plan_of(items(8), items(10)).gone.to_pylist() == ["i00008", "i00009"]


@pytest.mark.parametrize("column", ["label", "split"])
def test_another_label_or_split_is_a_change(column: str) -> None:
    index = schema.ITEMS.names.index(column)
    changed = items(3).set_column(index, schema.ITEMS.field(column), pa.array(["a", None, None]))
    assert plan_of(changed, items(3)).changed == 1
    assert plan_of(changed, changed).pending == 0


def test_unit_id_depends_on_spec_and_versions() -> None:
    def unit(table: pa.Table, spec: Spec = SPEC) -> str:
        return plan_of(table, spec=spec).units[0].id

    other = SPEC.model_copy(update={"dtype": "float16"})
    assert len({unit(items(3)), unit(items(3), other), unit(items(3, i00001="2"))}) == 3
    assert unit(items(3)) == unit(items(3))


@pytest.mark.parametrize("count", [1, 100, 10_000, 10**9])
@pytest.mark.parametrize("size", [32, 224, 448, 4096])
@pytest.mark.parametrize(("views", "floats"), [(0, False), (9, False), (9, True)])
def test_decoded_block_is_bounded(count: int, size: int, views: int, floats: bool) -> None:
    augment = Augment(views=views, float_views=floats) if views else None
    spec = SPEC.model_copy(update={"preprocess": Preprocess(size=size), "augment": augment})
    length = unit_length(count, spec)
    assert length >= 1
    assert length == 1 or length * 3 * size**2 * (views + 1) * (4 if floats else 1) <= 128 * 2**20


def test_two_items_with_one_id_are_refused_with_both_uris() -> None:
    again = {"id": "i00000", "uri": "/other", "etag": "1"}
    twice = pa.concat_tables([items(500), pa.Table.from_pylist([again], schema=schema.ITEMS)])
    with pytest.raises(UsageError, match=r"two items have the id 'i00000': /i00000 and /other"):
        Listing(twice.to_batches(max_chunksize=100))


def test_ids_that_share_a_hash_are_told_apart() -> None:
    def one_hash(texts: pa.Array) -> np.ndarray:
        return np.zeros(len(texts), np.int64)

    with (
        mock.patch("raypipe.rows.listing._hashes", one_hash),
        mock.patch("raypipe.rows.versions._hashes", one_hash),
    ):
        known = Versions(items(5, i00002="2"))
        index, same = known.find(items(7))
        assert index.tolist() == [0, 1, 2, 3, 4, -1, -1]
        assert same.tolist() == [True, True, False, True, True, False, False]
        assert len(Listing(items(4).to_batches())) == 4


def test_listing_of_nothing() -> None:
    with Listing([]) as listing:
        assert len(listing) == 0
        plan = make_plan(listing, items(2), SPEC)
    assert (plan.units, plan.gone.to_pylist()) == ([], ["i00000", "i00001"])
