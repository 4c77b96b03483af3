"""Damaged stores under every command: the same result, or one line that refuses.

`python -m tests.support.fuzz_stores FOLDER CASE…` tells one line of JSON per case.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.cli.command import add_command, execute, new_app
from raypipe.cli.endings import explain
from raypipe.config import JOBS
from raypipe.errors import RaypipeError
from raypipe.flow.plan import apart, make_plan
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store.adoption import adopt
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.history import record_run
from raypipe.store.identity import existing_spec
from raypipe.store.reader import StoreReader
from raypipe.store.retention import pin
from raypipe.store.snapshot import newest
from tests.support.case_runner import serve
from tests.support.damage import damaged
from tests.support.stores import items_of, make_spec, make_store, one_picture, write

_NAMES = [f"{label}/{n}" for label in ("a", "b", "c") for n in range(12)]
_REJECTS = [f"{label}/x{n}!" for label in ("a", "b") for n in range(2)]
_GONE = ["a/0", "b/3"]
_SPEC = make_spec()
#: What is of people and not of results; and what differs from run to run.
_UNCHECKED = (
    *("seconds", "gb_per_second", "left_aside", "provenance", "store", "out", "created", "model"),
    *("report", "source", "snapshots", "bytes", "cv_seconds", "run"),
)


_RUN = {
    "finished": "2026-01-01T00:00:00+00:00",
    **{"images": 40, "seconds": 2.0, "images_per_second": 20.0, "steady_images_per_second": 21.0},
    **{"first_feature_seconds": 0.5, "work_seconds": {"read": 1.0, "embed": 2.0}},
    **{"bytes_read": 100, "rejects": {"corrupt": 4}, "left_aside": {"hidden": 2}},
    **{"changed": 0, "gone": 0, "pruned": 0, "reused": 0},
}


def make(folder: Path, form: Any) -> None:
    """A store of three snapshots: rows dropped, rejects, a pin, a record of runs, a note."""
    thirds = [[*_NAMES[i::3], *_REJECTS[i::3]] for i in range(3)]
    units = [one_picture(folder.parent, sorted(names)) for names in thirds]
    storage, _ = make_store(folder, units, _SPEC, form)
    publish(storage, _SPEC.fingerprint, (), items_of(_GONE)["id"])
    pin(storage, "first", 1)
    record_run(storage, 1, _RUN)


def _app() -> Any:
    app = new_app()
    for name, model in JOBS.items():
        add_command(app, name, model)
    return app


@lru_cache(maxsize=1)
def app() -> Any:
    return _app()


def command(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its status and what it said."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        status = execute(app(), list(arguments))
    return status, out.getvalue(), said.getvalue()


Result = tuple[int, Any, str]


def told(store: Path, *arguments: str, files: tuple[str, ...] = ()) -> Result:
    """Run a command; return its status, what it says and the files it writes beside the store."""
    status, out, said = command(*arguments, "--json")
    found = json.loads(out) if out else None
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if name not in _UNCHECKED}
    sums = [_sum(store.parent / name) for name in files]
    return status, [found, sums], said


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _rows(store: Path) -> Any:
    reader = StoreReader(str(store))
    table = reader.to_arrow().drop_columns(["uri"])
    return [table.to_pylist(), reader.rejects()["id"].to_pylist()]


def _then_rows(store: Path, *arguments: str) -> Result:
    """Run a command that changes a store; what it says is not compared, but what is in it."""
    status, out, said = command(*arguments)
    said += out
    if status:
        return status, None, said
    status, found, why = _ended(lambda: _rows(store))
    return status, found, why or said


def _ended(work: Callable[[], Any]) -> Result:
    """Do something that is no command, and end as one does."""
    try:
        return 0, work(), ""
    except RaypipeError as error:
        return error.exit_code, None, f"raypipe: {error}\n"
    except Exception as error:
        return 1, None, f"raypipe: {explain(error)}\n"


def _extract(store: Path) -> Any:
    """Bring a store up to date as `extract` does, with numbers for features."""
    storage = FolderStorage(store)
    spec = existing_spec(storage)
    if spec != _SPEC:
        raise RaypipeError("another spec")
    items = Listing(items_of(sorted({*_NAMES, *_REJECTS} - set(_GONE))).to_batches())
    form = StoreReader(str(store)).format
    base = cover(storage, newest(storage, spec.fingerprint).parts)
    adopted = adopt(storage, base, items, spec.fingerprint)
    plan = make_plan(items, merge(base, adopted).rows, spec)
    parts = [
        part
        for unit in apart(storage, plan.units)
        for part in write(storage, spec, unit.id, unit.items, form)
    ]
    publish(storage, spec.fingerprint, (*adopted.parts, *parts), plan.gone)
    return _rows(store)


def _commands(store: Path) -> dict[str, Callable[[], Result]]:
    place, at = str(store), store.parent
    return {
        "inspect": partial(told, store, "inspect", place),
        "verify": partial(told, store, "verify", place),
        "export": lambda: told(
            store, "export", place, "--to", "csv", "--out", str(at / "x.csv"), files=("x.csv",)
        ),
        "pin": partial(_then_rows, store, "pin", place, "mine"),
        "expire": partial(_then_rows, store, "expire", place, "--keep", "1", "--grace", "0"),
        "compact": partial(_then_rows, store, "compact", place),
        "repair": partial(_then_rows, store, "repair", place),
        "extract": lambda: _ended(partial(_extract, store)),
        "predict": lambda: told(
            store,
            *("predict", str(at.parent / "model"), place, "--out", str(at / "p.csv")),
            files=("p.csv",),
        ),
        "similar": partial(told, store, "similar", place, "a/1"),
        "dedupe": lambda: told(
            store, "dedupe", place, "--out", str(at / "d.csv"), files=("d.csv",)
        ),
        "report": partial(told, store, "report", place, "--out", str(at / "r.html")),
        "cluster": lambda: told(
            store,
            *("cluster", place, "--k", "3", "--engine", "sklearn", "--out", str(at / "c")),
            files=("c/clusters.csv",),
        ),
        "train": lambda: told(store, *_train(place, at / "m"), files=("m/holdout.csv",)),
    }


def _train(place: str, out: Path) -> tuple[str, ...]:
    fast = ("--engine", "sklearn", "--cv", "2", "--grid", "C=1")
    return ("train", place, "--out", str(out), *fast)


#: Take most of the time; a case has one of each group.
_SLOW = (("report", "cluster", "train"),)


@lru_cache(maxsize=1)
def originals(folder: Path) -> dict[str, dict[str, Result]]:
    """Make the stores and a model; return what each command says of the whole ones."""
    found = {}
    for form in ("parquet", "hdf5"):
        make(folder / form, form)
        if not (folder / "model").exists():
            status, _, said = command(*_train(str(folder / form), folder / "model"))
            assert status == 0, said
        found[form] = {name: _run(folder, form, "whole", name) for name in _commands(folder)}
        odd = {name: result for name, result in found[form].items() if result[0]}
        assert not odd, odd
    return found


def _run(
    folder: Path, form: str, case: str, name: str, damage: Callable[[Path], Any] = lambda _: None
) -> Result:
    """Run a command on a copy of a store that has been damaged."""
    store = folder / f"case-{case}" / "store"
    shutil.copytree(folder / form, store)
    try:
        damage(store)
        return _commands(store)[name]()
    finally:
        shutil.rmtree(store.parent)


def _damage(store: Path, case: int) -> str:
    rng = np.random.default_rng([case, 1])
    files = sorted(path for path in store.rglob("*") if path.is_file())
    newest = max(files, key=lambda path: (path.parent.name == "snapshots", path.name))
    path = files[int(rng.integers(len(files)))]
    kind = rng.choice(["bytes"] * 7 + ["missing", "another", "folder"])
    what = str(kind)
    if kind == "bytes":
        what, data = damaged(path.read_bytes(), case)
        path.write_bytes(data)
    elif kind == "another":
        other = files[int(rng.integers(len(files)))]
        path.write_bytes(other.read_bytes())
    elif path == newest or path.parent.name == "pins":
        path.write_bytes(b"")  # without a trace of it nobody knows that there was one
        what = "emptied"
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()
    return f"{path.relative_to(store)} {what}"


def outcome(folder: Path, case: int) -> dict[str, Any]:
    """Return what has become of a case: the worst `state` of any command, and a `detail`."""
    form = ("parquet", "hdf5")[case % 2]
    whole = originals(folder)[form]
    about: dict[str, Any] = {"kind": form, "state": "same", "detail": ""}
    for name in whole:
        if any(name in group and group[case // 2 % len(group)] != name for group in _SLOW):
            continue

        def damage(store: Path) -> None:
            about["damage"] = _damage(store, case)

        try:
            result = _run(folder, form, str(case), name, damage)
        except Exception as error:
            return about | {"state": "trace", "detail": f"{name}: {error!r}"}
        state = judged(name, result, whole[name])
        if state in ("refused", "same"):
            about["state"] = max(state, about["state"], key=["same", "refused"].index)
        else:
            detail = f"{name}: {result} instead of {whole[name]}"[:3000]
            return about | {"state": state, "detail": detail}
    return about


def judged(name: str, result: Result, whole: Result) -> str:
    """Return whether a result is the `same` or `refused`, or what is wrong with it."""
    status, found, said = result
    last = said.splitlines()[-1] if said else ""
    if "Traceback" in said or "unexpected " in last or "`--debug` shows where" in last:
        return "trace"
    if status:
        if name == "verify" and found and found[0]:
            return "refused"
        return "refused" if last.startswith("raypipe") and status in (1, 2) else "odd end"
    if found == whole[1]:
        return "same"
    if name == "repair":  # what it takes out, it tells
        rows, rejects = whole[1]
        is_part = all(row in rows for row in found[0]) and set(found[1]) <= set(rejects)
        return "refused" if is_part and "is without" in said else "differs"
    return "differs"


if __name__ == "__main__":
    serve(outcome)
