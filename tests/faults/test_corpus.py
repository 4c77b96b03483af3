"""Images as they should not be, and bombs: all of them are rows or rejects, in one go."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import raypipe
from tests.conftest import flags
from tests.support.corpus import write_corpus

#: What decoding may take in a replica, and what else it holds of a file.
_MOST = int(1.5 * 2**30)


def replicas_memory(parent: psutil.Process, most: dict[int, list[int]]) -> None:
    """Note each replica's unique memory: when first seen, and at most."""
    for process in parent.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "MapWorker" in " ".join(process.cmdline()):
                now = process.memory_full_info().uss
                first, highest = most.setdefault(process.pid, [now, now])
                most[process.pid] = [first, max(highest, now)]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 10])
def test_all_of_the_corpus(every: int, tmp_path: Path) -> None:
    files = write_corpus(tmp_path / "corpus", every=every)
    assert files >= 1000 // every
    store = tmp_path / "store"
    command = [
        *(sys.executable, "-m", "raypipe.cli", "extract", str(tmp_path / "corpus")),
        *("--out", str(store), *flags(actors="2"), "--json", "--address", "local"),
        *("--max-seconds-per-image", "20"),
    ]
    most: dict[int, list[int]] = {}
    with (tmp_path / "said").open("w") as said:
        running = psutil.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        while running.poll() is None:
            with contextlib.suppress(psutil.Error):
                replicas_memory(running, most)
            time.sleep(0.1)
    summary = json.loads(running.stdout.read()) if running.returncode == 0 else {}
    assert running.returncode == 0, (tmp_path / "said").read_text()
    assert summary["items"] == summary["rows"] + summary["rejects"] == files
    assert most
    grown = max(highest - first for first, highest in most.values())
    print(f"{files} files; at most {grown >> 20} MiB above idle; {len(most)} processes")
    assert grown <= _MOST
    rejects = raypipe.open(str(store)).rejects().to_pylist()
    damaged = [r["id"] for r in rejects if ".whole." in r["id"] and not is_refused(r["id"])]
    assert damaged == []
    assert {r["reason"] for r in rejects} >= {"truncated", "corrupt", "not_an_image", "too_large"}


def is_refused(name: str) -> bool:
    """Whether a whole file has no rule: another format, or samples without a range."""
    kind, _, rest = name.partition("/")
    signed = rest.startswith(("i1", "i2", "i4", "f4"))
    wide = rest.startswith("u4")
    return kind in ("ico", "tga", "sgi") or (kind == "tiff" and (signed or wide))
