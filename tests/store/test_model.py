"""Any history of a store, with kills at every durable call, compared with a model of it."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from raypipe.flow.plan import make_plan
from raypipe.storage import Storage, open_storage
from raypipe.store.compaction import compact
from raypipe.store.coverage import cover, publish
from raypipe.store.exports import read_rows
from raypipe.store.identity import create_store
from raypipe.store.reader import StoreReader
from raypipe.store.retention import expire, pin, unpin
from raypipe.store.snapshot import Part, newest, numbers
from raypipe.store.verification import repair, verify
from tests.store.test_store import SPEC, content, listing, work

DAY = 24 * 3600
ITEMS = st.dictionaries(
    st.sampled_from(["a", "b", "c!", "d", "e!"]), st.sampled_from(["1", "2", "bad"])
)
#: The durable call at which a process is killed, and whether that call still takes effect.
KILLS = st.one_of(st.none(), st.tuples(st.integers(0, 7), st.booleans()))
LONG = [pytest.param(number, 250, marks=pytest.mark.long) for number in range(20)]
#: With the one that always runs, a tenth of the long ones.
TENTH = [pytest.param(number, 175, marks=pytest.mark.ci) for number in (101, 102)]
FORMS = st.sampled_from(["parquet", "hdf5"])

Versions = dict[str, str]


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A storage whose process is killed at one of its durable calls."""

    def __init__(self, storage: Storage, kill: tuple[int, bool] | None) -> None:
        self._storage, self._kill, self._calls = storage, kill, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return self._durable(found) if name in ("put", "create", "delete") else found

    def _durable(self, call: Any) -> Any:
        def run(*args: Any) -> Any:
            at, after = self._kill or (-1, False)
            number, self._calls = self._calls, self._calls + 1
            if number != at:
                return call(*args)
            if after:
                call(*args)
            raise Killed

        return run


@contextmanager
def mortal(storage: Storage, kill: tuple[int, bool] | None) -> Iterator[Any]:
    with suppress(Killed):
        yield Mortal(storage, kill)


class History(RuleBasedStateMachine):
    """What readers are to see: the newest items, and those of each snapshot."""

    root: Path
    place = ""
    steps = 0
    now = 0.0

    @initialize(form=FORMS)
    def begin(self, form: Any) -> None:
        uri = self.place or tempfile.mkdtemp(dir=self.root)
        self.uri = uri.replace("PREFIX", uuid.uuid4().hex)
        self.storage, self.form = open_storage(self.uri), form
        create_store(self.storage, SPEC, {}, form)
        type(self).now = 1e9
        self.items: Versions = {}
        self.kept: dict[int, Versions] = {}
        self.pins: dict[str, int] = {}
        self.readers: list[tuple[float, StoreReader, Versions]] = []
        self.plans: list[tuple[float, tuple[Part, ...], Versions]] = []

    @rule(versions=ITEMS, prune=st.booleans(), kill=KILLS)
    def ingest(self, versions: Versions, prune: bool, kill: Any) -> None:
        after = versions if prune else self.items | versions
        with mortal(self.storage, kill) as storage:
            parts = work(storage, listing(versions), form=self.form)
            self._publish(storage, parts, versions if prune else None)
            assert content(self.storage) == after
        self._settle(after)

    @rule(versions=ITEMS)
    def plan(self, versions: Versions) -> None:
        """Another writer has done its work, and will publish later."""
        parts = work(self.storage, listing(versions), form=self.form)
        new = {i: v for i, v in versions.items() if self.items.get(i) != v}
        self.plans.append((self.now, parts, new))

    @rule(kill=KILLS)
    def publish_plan(self, kill: Any) -> None:
        self.plans = [plan for plan in self.plans if self.now - plan[0] < DAY]
        if self.plans:
            _, parts, new = self.plans.pop(0)
            with mortal(self.storage, kill) as storage:
                self._publish(storage, parts, None)
            self._settle(self.items | new)

    @rule(kill=KILLS)
    def compact(self, kill: Any) -> None:
        with mortal(self.storage, kill) as storage:
            compact(storage, SPEC, self.form, 10**6)
        self._settle(self.items)

    @rule(keep=st.integers(1, 4), kill=KILLS)
    def expire(self, keep: int, kill: Any) -> None:
        before = numbers(self.storage)
        with mortal(self.storage, kill) as storage:
            expire(storage, keep=keep)
        left = set(numbers(self.storage))
        assert {*before[-keep:], *self.pins.values()} & set(before) <= left
        self.kept = {n: items for n, items in self.kept.items() if n in left}

    @rule(hours=st.sampled_from([5, 13, 25]))
    def wait(self, hours: int) -> None:
        type(self).now += hours * 3600

    @rule(name=st.sampled_from(["p", "q"]), choice=st.integers(0, 9))
    def pin(self, name: str, choice: int) -> None:
        if known := numbers(self.storage):
            self.pins[name] = known[choice % len(known)]
            pin(self.storage, name, self.pins[name])

    @rule()
    def unpin(self) -> None:
        if self.pins:
            name = self.pins.popitem()[0]
            unpin(self.storage, name)

    @rule(choice=st.integers(0, 9))
    def open(self, choice: int) -> None:
        if self.kept:
            number = sorted(self.kept)[choice % len(self.kept)]
            self.readers.append((self.now, StoreReader(self.uri, number), self.kept[number]))

    @rule()
    def read_on(self) -> None:
        """Who has opened a snapshot reads it for a day, whatever happens."""
        self.readers = [one for one in self.readers if self.now - one[0] < DAY]
        for _, reader, items in self.readers:
            good = {i for i, v in items.items() if not i.endswith("!") and v != "bad"}
            assert set(read_rows(reader).ids if good else []) == good
            assert set(reader.to_numpy().ids if good else []) == good
            assert set(reader.rejects()["id"].to_pylist()) == set(items) - good

    @rule(choice=st.integers(0, 9))
    def damage_and_repair(self, choice: int) -> None:
        parts = newest(self.storage, SPEC.fingerprint).parts
        if not parts:
            return
        path = parts[choice % len(parts)].file.path
        # Two writers may have taken up the same leftover, each other rows of it.
        listed = tuple(part for part in parts if part.file.path == path)
        lost = set(cover(self.storage, listed).rows["id"].to_pylist())
        data = self.storage.read(path)
        self.storage.put(path, data[:-300] + bytes([data[-300] ^ 1]) + data[-299:])
        assert set(verify(self.storage).damaged) == {path}
        repair(self.storage, SPEC)
        bad = {n for n in self.kept if path in self._paths(n)}
        self.kept = {n: items for n, items in self.kept.items() if n not in bad}
        self.readers = [one for one in self.readers if path not in self._listed(one[1])]
        self.plans = []
        self._settle({i: v for i, v in self.items.items() if i not in lost})

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "storage"):
            return
        type(self).steps += 1
        assert content(self.storage) == self.items
        assert verify(self.storage).damaged == {}

    def teardown(self) -> None:
        for number, items in getattr(self, "kept", {}).items():
            assert content(self.storage, number) == items

    def _publish(self, storage: Any, parts: tuple[Part, ...], pruned: Versions | None) -> None:
        gone = None
        if pruned is not None:
            base = cover(storage, newest(storage, SPEC.fingerprint).parts)
            gone = make_plan(listing(pruned), base.rows, SPEC).gone
        publish(storage, SPEC.fingerprint, parts, gone)

    def _settle(self, after: Versions) -> None:
        """A killed process has changed all that readers see, or nothing."""
        found = content(self.storage)
        assert found in (self.items, after)
        self.items = found
        if known := numbers(self.storage):
            self.kept[known[-1]] = found

    def _paths(self, number: int) -> set[str]:
        return self._listed(StoreReader(self.uri, number))

    def _listed(self, reader: StoreReader) -> set[str]:
        return {part.file.path for part in reader.snapshot.parts}


def check(
    monkeypatch: pytest.MonkeyPatch, root: Path, number: int, steps: int, place: str = ""
) -> None:
    """Run histories of up to 50 steps, so many steps together."""

    class Seeded(History):
        steps = 0

    monkeypatch.setattr(time, "time", lambda: Seeded.now)
    Seeded.root, Seeded.place = root, place
    options = settings(
        max_examples=5,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a history of 50 steps takes minutes to shrink
        suppress_health_check=list(HealthCheck),
    )
    while Seeded.steps < steps:
        run_state_machine_as_test(seed(1000 * number + Seeded.steps)(Seeded), settings=options)


@pytest.mark.parametrize(("number", "steps"), [(100, 150), *TENTH, *LONG])
def test_any_history_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, steps: int
) -> None:
    check(monkeypatch, tmp_path, number, steps)


@pytest.mark.parametrize(
    "steps", [pytest.param(50, marks=pytest.mark.ci), pytest.param(500, marks=pytest.mark.long)]
)
def test_any_history_in_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str, client: Any, steps: int
) -> None:
    place = f"s3://photos/PREFIX?endpoint_override={s3}&scheme=http"
    check(monkeypatch, tmp_path, 0, steps, place)
