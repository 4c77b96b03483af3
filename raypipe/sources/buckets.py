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

#: Seconds to wait for a connection and for an answer, and how often to try.
CONNECT_TIMEOUT, REQUEST_TIMEOUT, ATTEMPTS = 10, 60, 4

_PARAMETERS = {"endpoint_override", "scheme", "region", "anonymous"}
# What the store itself says about a key or a bucket, as opposed to no answer.
_DEFINITE = re.compile(
    r"ACCESS_DENIED|NO_SUCH_KEY|NO_SUCH_BUCKET|RESOURCE_NOT_FOUND|INVALID_ACCESS_KEY_ID|"
    r"SIGNATURE_DOES_NOT_MATCH|HTTP status 40[0-79]|HTTP 40[0-79]|NOT_FOUND|PERMISSION_DENIED|"
    r"UNAUTHENTICATED",
    re.IGNORECASE,
)


def read_object(uri: str, max_bytes: int) -> bytes:
    """Return an object's bytes.

    Raises:
        RejectedItem: UNREADABLE where the store said no, UNAVAILABLE where it gave no answer.
    """
    bucket, key, parameters = _split(uri)
    try:
        with _filesystem(*parameters).open_input_file(f"{bucket}/{key}") as file:
            check_size(file.size(), max_bytes)
            data: bytes = file.read()
            return data
    except (OSError, ValueError) as error:
        raise _reject(uri, error) from None


def probe(uri: str) -> None:
    """Ask for an object's attributes. Raises RejectedItem as `read_object` does."""
    bucket, key, parameters = _split(uri)
    try:
        _filesystem(*parameters).get_file_info(f"{bucket}/{key}")
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
def _filesystem(scheme: str, bucket: str, credentials: str, query: str) -> Any:
    given = {name: value for name, value in parse_qsl(query) if name in _PARAMETERS}
    return (_s3 if scheme == "s3" else _gcs)(bucket, credentials, given)


def _s3(bucket: str, credentials: str, given: dict[str, str]) -> Any:
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
        connect_timeout=CONNECT_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def _gcs(_bucket: str, credentials: str, given: dict[str, str]) -> Any:
    from pyarrow import fs

    anonymous = credentials == "anonymous" or given.get("anonymous", "") in ("true", "1")
    options = {name: given[name] for name in ("endpoint_override", "scheme") if name in given}
    limit = timedelta(seconds=REQUEST_TIMEOUT)
    return fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=limit, **options)


def _reject(uri: str, error: Exception) -> RejectedItem:
    from raypipe.sources.remote import public

    if isinstance(error, FileNotFoundError):
        return RejectedItem(RejectReason.UNREADABLE, f"404 Not Found: {public(uri)}")
    found = _DEFINITE.search(str(error))
    if isinstance(error, ValueError) or found:
        what = found.group().upper() if found else "invalid"
        return RejectedItem(RejectReason.UNREADABLE, f"{what}: {public(uri)}")
    named = re.search(r"AWS Error (\w+)", str(error))
    what = named.group(1) if named else type(error).__name__
    return RejectedItem(RejectReason.UNAVAILABLE, f"no answer ({what}): {public(uri)}")
