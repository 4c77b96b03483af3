"""Compare two checkouts: `python -m benchmarks.compare_checkouts OLD NEW [--work DIR]`.

Prints a table of what was compared, and each difference; the exit status is 1 if there is one.
What is not compared: pictures and pages (that they are there is), the keys in
`differences.IGNORED`, and `doctor`, `demo`, `submit` and forecasts, which measure or need more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.compare_checkouts.checkout import Checkout
from benchmarks.compare_checkouts.commands import Plan, make_plan, shown
from benchmarks.compare_checkouts.differences import of_trees, of_values
from benchmarks.compare_checkouts.material import add_photographs, prepare

Answers = dict[str, dict[str, Any]]

_TITLES = {"first": "written by each", "then": "gone on with"}
_TRIES = 3
_SHOWN = 8  # differences of one thing


class Table:
    """What was compared, with the number of differences, line by line."""

    def __init__(self) -> None:
        self.failed = False
        self._started = time.monotonic()

    def say(self, what: str) -> None:
        """Say what goes on."""
        print(f"{time.monotonic() - self._started:6.1f} s  {what}", file=sys.stderr, flush=True)

    def row(self, what: str, differences: Iterable[str]) -> None:
        """Print a line, and the first of its differences."""
        found = list(differences)
        self.failed |= bool(found)
        print(f"{'DIFFERS' if found else 'equal  '}  {what}")
        for line in found[:_SHOWN]:
            print(f"             {line}")
        if len(found) > _SHOWN:
            print(f"             … and {len(found) - _SHOWN} more")
        sys.stdout.flush()


def main() -> None:
    """Compare, and exit with 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout that wrote what there is")
    parser.add_argument("new", type=Path, help="checkout that goes on with it")
    parser.add_argument("--work", type=Path, help="folder to keep, for looking into differences")
    parser.add_argument("--quick", action="store_true", help="one of each kind, none killed")
    given = parser.parse_args()
    work = (given.work or Path(tempfile.mkdtemp(prefix="raypipe-compare-"))).resolve()
    if work.exists() and any(work.iterdir()):
        parser.error(f"--work: {work} is not empty")
    work.mkdir(parents=True, exist_ok=True)
    table = Table()
    old = Checkout("old", given.old.resolve(), work)
    new = Checkout("new", given.new.resolve(), work)
    try:
        _compare(old, new, work, table, make_plan(quick=given.quick))
    finally:
        old.close()
        new.close()
        if given.work is None and not table.failed:
            shutil.rmtree(work)
    print(f"different; all of it is in {work}" if table.failed else "all equal")
    sys.exit(int(table.failed))


def _compare(old: Checkout, new: Checkout, work: Path, table: Table, plan: Plan) -> None:
    # Places are written into what is compared: everything is done in a folder of one name.
    here, written = work / "here", work / "written"
    prepare(work, work / "untouched")
    first, then = {}, {}
    for checkout in (old, new):
        shutil.copytree(work / "untouched", here)
        first[checkout.name] = _first(checkout, here, table, plan)
        shutil.copytree(here, work / f"{checkout.name}-first")
        if checkout is old:
            _kill_all(old, here, table, plan)
            shutil.copytree(here, written)
        shutil.rmtree(here)
    for checkout in (old, new):
        shutil.copytree(written, here)
        then[checkout.name] = _then(checkout, here, table, plan)
        here.rename(work / f"{checkout.name}-then")
    for what, found in (("first", first), ("then", then)):
        _show(table, _TITLES[what], found[old.name], found[new.name])
        _show_files(table, _TITLES[what], *(work / f"{c.name}-{what}" for c in (old, new)))
    for checkout in (old, new):
        _show_ends(table, plan, checkout.name, first[old.name], then[checkout.name])


def _first(checkout: Checkout, here: Path, table: Table, plan: Plan) -> Answers:
    """Write everything that is compared, and what will be killed to its end."""
    wholes = [f"{one.command} --out {_whole(name)}" for name, one in plan.killed.items()]
    found = {command: _ran(checkout, command, here, table) for command in (*plan.first, *wholes)}
    stores = [*plan.stores, *(_whole(name) for name, one in plan.killed.items() if not one.resume)]
    return found | _opened(checkout, stores, here)


def _kill_all(checkout: Checkout, here: Path, table: Table, plan: Plan) -> None:
    for name, killed in plan.killed.items():
        table.say(f"{checkout.name}: {shown(killed.command)} --out {name}, to be killed")
        for _ in range(_TRIES):  # on a busy machine Ray may not answer the first time
            if checkout.kill(name, killed, here):
                break
            shutil.rmtree(here / name, ignore_errors=True)
        else:
            sys.exit(f"{name} had ended before it could be killed; its log is {checkout.log}")


def _then(checkout: Checkout, here: Path, table: Table, plan: Plan) -> Answers:
    """Go on with what there is: as it stands, then with more photographs."""
    resumed = [f"{one.command} --out {name}{one.resume}" for name, one in plan.killed.items()]
    found = {c: _ran(checkout, c, here, table) for c in (*plan.again, *resumed)}
    found |= _opened(checkout, [n for n, one in plan.killed.items() if not one.resume], here)
    add_photographs(here)
    found |= {f"{c} (more)": _ran(checkout, c, here, table) for c in plan.after}
    return found | _opened(checkout, plan.stores, here)


def _ran(checkout: Checkout, command: str, here: Path, table: Table) -> dict[str, Any]:
    table.say(f"{checkout.name}: {shown(command)}")
    return checkout.run(command, here)


def _opened(checkout: Checkout, stores: Iterable[str], here: Path) -> Answers:
    return {f"open {store}": checkout.open(store, here) for store in stores}


def _show(table: Table, title: str, old: Answers, new: Answers) -> None:
    for command, answer in old.items():
        failed = [f"exit status {answer['code']}: {answer['said'].strip()}"] * bool(answer["code"])
        table.row(f"{title}: {shown(command)}", [*failed, *of_values(answer, new[command])])


def _show_files(table: Table, title: str, old: Path, new: Path) -> None:
    """Show the files of each store, model and result on one line."""
    found: dict[str, list[list[str]]] = {}
    for name, differences in of_trees(old, new):
        lines = [f"{name}: {line}" for line in differences]
        found.setdefault(name.partition("/")[0], []).append(lines)
    for folder, files in found.items():
        table.row(f"{title}: files of {folder} ({len(files)})", itertools.chain(*files))


def _show_ends(table: Table, plan: Plan, name: str, whole: Answers, then: Answers) -> None:
    """Show whether a checkout decoded no more than it had to, and ended where others began."""
    after = {f"{command} (more)": count for command, count in plan.after.items()}
    expected: dict[str, int | None] = {**plan.again, **after}
    for command, count in expected.items():
        if count is not None:
            got = (then[command]["json"] or {}).get("decoded")
            wrong = [] if got == count else [f"decoded: expected {count}, got {got}"]
            table.row(f"decoded by the {name}, {count}: {shown(command)}", wrong)
    for killed, one in plan.killed.items():
        if one.resume:
            ends = [then[f"{one.command} --out {killed}{one.resume}"]]
            ends += [whole[f"{one.command} --out {_whole(killed)}"]]
        else:
            ends = [then[f"open {killed}"], whole[f"open {_whole(killed)}"]]
        text = json.dumps(ends[0]).replace(killed, _whole(killed))
        what = f"{killed} gone on with by the {name}, and {_whole(killed)}"
        table.row(what, of_values(ends[1], json.loads(text)))


def _whole(killed: str) -> str:
    """Return the name of the same, not killed."""
    return killed.replace("killed-", "whole-")


if __name__ == "__main__":
    main()
