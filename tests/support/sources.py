"""The same images as every kind of source, and servers on the loopback interface."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.config import LabelConfig
from raypipe.sources import open_source, read_item

CAP = 1_000_000


def listed(source: object, **options: object) -> pa.Table:
    return pa.Table.from_batches(
        open_source(LabelConfig(source=str(source), **options)).list(), schema=schema.ITEMS
    )


def ids(source: object, **options: object) -> list[str]:
    return listed(source, **options)["id"].to_pylist()


def labels(source: object, **options: object) -> dict[str, str | None]:
    table = listed(source, **options)
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def contents(source: object, **options: object) -> dict[str, bytes]:
    table = listed(source, **options)
    pairs = zip(table["id"].to_pylist(), table["uri"].to_pylist(), strict=True)
    return {item: read_item(uri, CAP) for item, uri in pairs}


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tar_of(
    path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], mode: str = "w"
) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def csv_of(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def jsonl_of(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet_of(path: Path, columns: dict[str, object], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@contextlib.contextmanager
def served(handler: object) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def folder_server(folder: Path) -> contextlib.AbstractContextManager[str]:
    return served(partial(Quiet, directory=str(folder)))
