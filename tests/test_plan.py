"""Units: every missing item once, the same units for the same work."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raypipe import schema
from raypipe.plan import make_plan, unit_length
from raypipe.spec import Preprocess, Spec

SPEC = Spec(backbone="b", weights_sha256="w", layers=("l",))


def items(count: int, **changed: str) -> pa.Table:
    """`count` items; `changed` maps an id to another etag."""
    ids = [f"i{n:05d}" for n in range(count)]
    rows = [{"id": i, "uri": f"/{i}", "etag": changed.get(i, "1"), "label": None} for i in ids]
    return pa.Table.from_pylist(rows, schema=schema.ITEMS)


def covered(table: pa.Table) -> pa.Table:
    return table.select(list(schema.VERSION_COLUMNS))


def test_every_item_is_in_exactly_one_unit() -> None:
    plan = make_plan(items(1000), covered(items(0)), SPEC)
    ids = [i for unit in plan.units for i in unit.items["id"].to_pylist()]
    assert ids == items(1000)["id"].to_pylist()
    assert len({unit.id for unit in plan.units}) == len(plan.units) == 16


def test_units_of_an_interrupted_run_are_made_again() -> None:
    listing = items(1000)
    first = make_plan(listing, covered(items(0)), SPEC)
    done = pa.concat_tables([first.units[2].items, first.units[5].items])
    second = make_plan(listing, covered(done), SPEC)
    rest = [unit.id for i, unit in enumerate(first.units) if i not in (2, 5)]
    assert [unit.id for unit in second.units] == rest


def test_new_changed_and_gone() -> None:
    plan = make_plan(items(12, i00003="2"), covered(items(10)), SPEC)
    assert [unit.items["id"].to_pylist() for unit in plan.units] == [["i00003", "i00010", "i00011"]]
    assert (plan.pending, plan.changed, plan.gone.to_pylist()) == (3, 1, [])
    assert make_plan(items(8), covered(items(10)), SPEC).gone.to_pylist() == ["i00008", "i00009"]


def test_another_label_is_a_change() -> None:
    relabelled = items(3).set_column(3, "label", pa.array(["a", None, None]))
    assert make_plan(relabelled, covered(items(3)), SPEC).changed == 1
    assert make_plan(relabelled, covered(relabelled), SPEC).pending == 0


def test_unit_id_depends_on_spec_and_versions() -> None:
    def unit(table: pa.Table, spec: Spec = SPEC) -> str:
        return make_plan(table, covered(items(0)), spec).units[0].id

    other = SPEC.model_copy(update={"pool": "max"})
    assert len({unit(items(3)), unit(items(3), other), unit(items(3, i00001="2"))}) == 3
    assert unit(items(3)) == unit(items(3))


@pytest.mark.parametrize("count", [1, 100, 10_000, 10**9])
@pytest.mark.parametrize("size", [32, 224, 448, 4096])
def test_decoded_block_is_bounded(count: int, size: int) -> None:
    spec = SPEC.model_copy(update={"preprocess": Preprocess(size=size)})
    length = unit_length(count, spec)
    assert length >= 1
    assert length * 3 * size**2 <= 128 * 2**20
