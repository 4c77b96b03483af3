"""Objects in S3 and Google Cloud Storage."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.local import check_size

__all__ = ["probe", "read_object"]

#: Seconds to wait for a connection and for an answer, how often S3 is tried, and for how long GCS.
CONNECT_TIMEOUT, REQUEST_TIMEOUT, ATTEMPTS, RETRY_SECONDS = 10, 60, 4, 30
#: The same for a server that has failed many times in a row.
HASTY_TIMEOUT, HASTY_SECONDS = 2, 1

_PIECE = 8 * 2**20
_PARAMETERS = {"endpoint_override", "scheme", "region", "anonymous"}
_CODE = re.compile(r"(?:AWS Error |google::cloud::Status\()(\w+)(?: \(HTTP status (\d+)\))?")
# What a store itself says about a key or a bucket, as opposed to no answer.
_DEFINITE = {
    "ACCESS_DENIED",
    "FAILED_PRECONDITION",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_ARGUMENT",
    "INVALID_SIGNATURE",
    "NO_SUCH_BUCKET",
    "NO_SUCH_KEY",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_NOT_FOUND",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNAUTHENTICATED",
}
_TEMPORARY_STATUS = {"408", "429"}


def read_object(uri: str, max_bytes: int, *, hasty: bool = False) -> bytes:
    """Return an object's bytes; `hasty` does not wait for a server that does not answer at once.

    Raises:
        RejectedItem: UNREADABLE where the store said no, UNAVAILABLE where it gave no answer.
    """
    bucket, key, parameters = _split(uri)
    pieces: list[bytes] = []
    try:
        # A stream, since opening a random-access file on GCS blocks all threads of the process.
        store = _filesystem(*parameters, hasty)
        with store.open_input_stream(f"{bucket}/{key}", compression=None) as stream:
            while piece := stream.read(_PIECE):
                pieces.append(piece)
                check_size(sum(map(len, pieces)), max_bytes)
    except (OSError, ValueError) as error:
        raise _reject(uri, error) from None
    return b"".join(pieces)


def probe(uri: str) -> None:
    """Ask for an object's attributes. Raises RejectedItem as `read_object` does."""
    bucket, key, parameters = _split(uri)
    try:
        _filesystem(*parameters, False).get_file_info(f"{bucket}/{key}")
    except (OSError, ValueError) as error:
        raise _reject(uri, error) from None


def _split(uri: str) -> tuple[str, str, tuple[str, str, str, str]]:
    """Return bucket, key, and scheme, bucket, credentials and parameters of the store.

    Keys are taken as they are written, without unescaping, as the stores' own tools do. A `?` is
    part of the key unless known parameters follow.
    """
    scheme, _, rest = uri.partition("://")
    place, mark, query = rest.rpartition("?")
    if not mark or not {name for name, _ in parse_qsl(query)} & _PARAMETERS:
        place, query = rest, ""
    authority, _, key = place.partition("/")
    credentials, _, bucket = authority.rpartition("@")
    return bucket, key, (scheme, bucket, credentials, query)


@lru_cache(maxsize=32)
def _filesystem(scheme: str, bucket: str, credentials: str, query: str, hasty: bool) -> Any:
    given = {name: value for name, value in parse_qsl(query) if name in _PARAMETERS}
    return (_s3 if scheme == "s3" else _gcs)(bucket, credentials, given, hasty)


def _s3(bucket: str, credentials: str, given: dict[str, str], hasty: bool) -> Any:
    from pyarrow import fs

    key, _, secret = credentials.partition(":")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in given:
        parts = urlsplit(endpoint)
        given = {"endpoint_override": parts.netloc, "scheme": parts.scheme, **given}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and "endpoint_override" not in given and "region" not in given:
        region = fs.resolve_s3_region(bucket)
    options: dict[str, Any] = {"region": region, **given}
    options["anonymous"] = given.get("anonymous", "") in ("true", "1")
    return fs.S3FileSystem(
        **options,
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        connect_timeout=HASTY_TIMEOUT if hasty else CONNECT_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1 if hasty else ATTEMPTS),
    )


def _gcs(_bucket: str, credentials: str, given: dict[str, str], hasty: bool) -> Any:
    from pyarrow import fs

    anonymous = credentials == "anonymous" or given.get("anonymous", "") in ("true", "1")
    options = {name: given[name] for name in ("endpoint_override", "scheme") if name in given}
    limit = timedelta(seconds=HASTY_SECONDS if hasty else RETRY_SECONDS)
    return fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=limit, **options)


def _reject(uri: str, error: Exception) -> RejectedItem:
    from raypipe.sources.remote import public

    if isinstance(error, FileNotFoundError):
        return RejectedItem(RejectReason.UNREADABLE, f"404 Not Found: {public(uri)}")
    found = _CODE.search(str(error))
    code, status = found.groups("") if found else (type(error).__name__, "")
    what = f"{code} {status}".strip()
    refused = status.startswith("4") and status not in _TEMPORARY_STATUS
    if code in _DEFINITE or refused or isinstance(error, ValueError):
        return RejectedItem(RejectReason.UNREADABLE, f"{what}: {public(uri)}")
    return RejectedItem(RejectReason.UNAVAILABLE, f"no answer ({what}): {public(uri)}")
