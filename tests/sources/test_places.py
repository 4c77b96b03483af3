"""Tables that point outside their own folder, or at a cloud's metadata."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.sources import open_source

INSIDE = (
    *("a.jpg", "x/../a.jpg", "{folder}/a.jpg", "{real}/a.jpg", "file://{folder}/a.jpg"),
    *("http://example.org/a.jpg", "http://10.0.0.1/a.jpg", "s3://other/a.jpg", "a..b.jpg"),
    *("file://{folder}/caf%E9.jpg", "file://{folder}/a#1?.jpg"),
    *("http://169.253.0.1/", "http://metadata.example.org/", "https://[2001:db8::1]/a.jpg"),
)
OUTSIDE = (
    *("/proc/self/environ", "../x.jpg", "x/../../x.jpg", "{folder}/../x.jpg", "{folder}2/x.jpg"),
    *("file:///proc/self/environ", "file://{folder}/%2e%2e/x.jpg", "file://localhost/etc/passwd"),
)
ADDRESSES = (
    *("http://169.254.169.254/latest/meta-data", "HTTP://169.254.1.1:80/", "http://2852039166/"),
    *("http://0xa9fea9fe/", "http://u:p@169.254.169.254/", "http://[fe80::1%25eth0]/"),
    *("http://[::ffff:169.254.169.254]/", "https://metadata.google.internal./x"),
    *("http://Metadata.Google.Internal/", "http://169.254.169.254\\@example.org/"),
)


def listed(folder: Path, uri: str, **given: object) -> list[str]:
    table = folder / "m.csv"
    text = uri.format(folder=folder, real=folder.resolve()) if "{" in uri else uri
    table.write_text(f'uri\n"{text}"\n')
    config = ExtractConfig(source=str(table), out="o", **given)
    return pa.Table.from_batches(open_source(config).list())["uri"].to_pylist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder reached through a link."""
    (tmp_path / "real" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return tmp_path / "link"


@pytest.mark.parametrize("uri", INSIDE)
def test_what_a_table_may_name(uri: str, folder: Path) -> None:
    assert len(listed(folder, uri)) == 1


@pytest.mark.parametrize(
    ("uri", "path"),
    [("file:///caf%E9.jpg", "file:///caf%E9.jpg"), ("file:///a%231#2?3.jpg", "/a#1#2?3.jpg")],
)
def test_uris_of_files(uri: str, path: str, folder: Path) -> None:
    assert listed(folder, uri, allow_outside=True) == [path]


@pytest.mark.parametrize("uri", ["file://a.jpg", "file://x/a.jpg", "file://[x/a.jpg"])
def test_a_uri_of_another_machine(uri: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="SOURCE: row 1 of .*: expected file:///PATH, of this mac"):
        listed(folder, uri, allow_outside=True)


@pytest.mark.parametrize("uri", [*OUTSIDE, *ADDRESSES])
def test_what_takes_an_option(uri: str, folder: Path) -> None:
    words = "link-local" if uri in ADDRESSES else "below the table's own folder"
    with pytest.raises(UsageError, match=rf"SOURCE: row 1 of .* {words}.* give --allow-outside"):
        listed(folder, uri)
    assert len(listed(folder, uri, allow_outside=True)) == 1
