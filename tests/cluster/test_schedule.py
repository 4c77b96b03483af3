"""The same command, night after night."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raypipe
from raypipe.config import ExtractConfig
from raypipe.jobs.extract import run
from tests.conftest import draw, options
from tests.storage.test_buckets import at
from tests.support.proxy import Fault, proxied

KINDS = ("circle", "square", "stripes")


class Shelf:
    """A bucket whose images come, change and go."""

    def __init__(self, client: Any, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.chance, self.drawn = random.Random(0), 0

    def put(self, name: str) -> None:
        self.drawn += 1
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.drawn % 9 == 0:
            path.write_text(f"no image {self.drawn}")
        else:
            kind = name.partition("/")[0]
            draw(kind if kind in KINDS else "circle", self.drawn).save(path)
        self.client.put_object(Bucket="photos", Key=f"in/{name}", Body=path.read_bytes())

    def drop(self, name: str) -> None:
        (self.folder / name).unlink()
        self.client.delete_object(Bucket="photos", Key=f"in/{name}")

    def names(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.png"))

    def day(self, number: int) -> tuple[int, int, int]:
        """Let a day pass; return how many images came, changed and went."""
        before = self.names()
        touched = self.chance.sample(before, self.chance.randint(0, min(6, len(before))))
        changed, gone = touched[::2], touched[1::2]
        new = [f"{self.chance.choice(KINDS)}/{number:02}-{i}.png" for i in range(12 - number)]
        for name in (*new, *changed):
            self.put(name)
        for name in gone:
            self.drop(name)
        return len(set(new)), len(changed), len(gone)


@pytest.mark.usefixtures("ray_session")
def test_ten_nights(s3: str, client: Any, tmp_path: Path) -> None:
    """A bucket that grows, changes and shrinks, behind a server that fails now and then."""
    chance = random.Random(1)

    def moody(_method: str, _path: str, _number: int) -> Fault:
        roll = chance.random()
        return 503 if roll < 0.1 else "slow" if roll < 0.15 else None

    shelf = Shelf(client, tmp_path / "photos")
    with proxied(s3, moody) as proxy:
        config = ExtractConfig(
            source=at(proxy.address, "in"), out=at(proxy.address, "store"), **options(prune=True)
        )
        for number in range(10):
            new, changed, gone = (0, 0, 0) if number == 5 else shelf.day(number)
            summary = run(config).summary
            assert summary["decoded"] == new + changed
            assert (summary["changed"], summary["pruned"]) == (changed, gone)
            assert summary["rows"] + summary["rejects"] == len(shelf.names())
    store = raypipe.open(at(s3, "store"))
    fresh = raypipe.extract(str(shelf.folder), out=str(tmp_path / "fresh"), **options())
    one, two = store.to_numpy(), fresh.to_numpy()
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.features, two.features)
    columns = ["id", "reason", "message"]
    rejects = [store.rejects(), fresh.rejects()]
    assert len(rejects[0]) > 3
    assert rejects[0].select(columns).sort_by("id") == rejects[1].select(columns).sort_by("id")


@pytest.mark.usefixtures("ray_session")
def test_since_looks_at_what_is_behind_it_only(s3: str, client: Any, tmp_path: Path) -> None:
    shelf = Shelf(client, tmp_path / "photos")
    for month in ("2026-09", "2026-10", "2026-11"):
        for number in (1, 2):
            shelf.put(f"{month}/{number}.png")
    for source, out in (
        (str(shelf.folder), str(tmp_path / "store")),
        (at(s3, "in"), at(s3, "since")),
    ):
        config = ExtractConfig(source=source, out=out, **options(prune=True))
        assert run(config).summary["rows"] == 6
        shelf.drop("2026-09/1.png")
        shelf.drop("2026-11/1.png")
        some = run(config.model_copy(update={"since": "2026-10/2"})).summary
        assert (some["decoded"], some["pruned"], some["rows"]) == (0, 1, 5)
        every = run(config).summary
        assert (every["pruned"], every["rows"]) == (1, 4)
        for name in ("2026-09/1.png", "2026-11/1.png"):
            shelf.put(name)
