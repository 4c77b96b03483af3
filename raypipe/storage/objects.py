"""Objects in buckets: S3, what speaks its protocol, and Google Cloud Storage."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from obstore.store import GCSConfig, ObjectStore, S3Config

SCHEMES = ("s3", "gs")
_STARTS = tuple(f"{scheme}://" for scheme in SCHEMES)

#: Parameters that an object's URI may carry, as PyArrow spells them.
_PARAMETERS = {"endpoint_override", "scheme", "region", "anonymous"}


@dataclass(frozen=True)
class Patience:
    """How long to wait: seconds for a connection, for an answer, and for all tries of a request."""

    connect: float = 10
    answer: float = 60
    tries: int = 8
    total: float = 120


@dataclass(frozen=True)
class ObjectUri:
    """What a URI of an object says.

    Keys are taken as they are written, without unescaping, as the stores' own tools do. A `?` is
    part of the key unless known parameters follow.
    """

    scheme: str
    bucket: str
    key: str
    credentials: str = ""
    query: str = ""

    @property
    def uri(self) -> str:
        """The URI without credentials and parameters."""
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    @property
    def whole(self) -> str:
        """The URI with all that it takes to read it again."""
        owner = f"{self.credentials}@" if self.credentials else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{owner}{self.bucket}/{self.key}{query}"


def is_object(uri: str) -> bool:
    """Whether a URI is of a bucket, or of an object in one."""
    return uri.startswith(_STARTS)


def parse(uri: str) -> ObjectUri:
    """Return what a URI says."""
    scheme, _, rest = uri.partition("://")
    place, mark, query = rest.rpartition("?")
    if not mark or not {name for name, _ in parse_qsl(query)} & _PARAMETERS:
        place, query = rest, ""
    authority, _, key = place.partition("/")
    credentials, _, bucket = authority.rpartition("@")
    return ObjectUri(scheme, bucket, key.rstrip("/"), credentials, query)


def connect(place: ObjectUri, patience: Patience) -> ObjectStore:
    """Return a client of the bucket; the last few are kept.

    Credentials are those of the URI, else what the usual chain finds.

    Raises:
        ValueError: a parameter makes no sense.
        OSError: the region of the bucket could not be found out.
    """
    given = {name: value for name, value in parse_qsl(place.query) if name in _PARAMETERS}
    if place.scheme == "s3":
        given = _environment() | given
    return _client(replace(place, key="", query=""), tuple(sorted(given.items())), patience)


def _environment() -> dict[str, str]:
    """Return what the environment says of S3, as the AWS tools read it."""
    found: dict[str, str] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        found = {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return found | ({"region": region} if region else {})


@lru_cache(maxsize=64)
def _client(
    place: ObjectUri, options: tuple[tuple[str, str], ...], patience: Patience
) -> ObjectStore:
    given = dict(options)
    endpoint = given.get("endpoint_override", "")
    if endpoint:
        endpoint = f"{given.get('scheme', 'https')}://{endpoint}"
    common: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=patience.connect),
            "timeout": timedelta(seconds=patience.answer),
            "allow_http": endpoint.startswith("http://"),
        },
        "retry_config": {
            "max_retries": patience.tries - 1,
            "retry_timeout": timedelta(seconds=patience.total),
        },
    }
    anonymous = place.credentials == "anonymous" or given.get("anonymous", "") in ("true", "1")
    config = {"skip_signature": True} if anonymous else {}
    if place.scheme == "s3":
        return _s3(place, endpoint, config | {"region": given.get("region", "")}, common)
    return _gcs(place.bucket, endpoint, config, common)


def _s3(
    place: ObjectUri, endpoint: str, config: dict[str, Any], common: dict[str, Any]
) -> ObjectStore:
    from obstore.store import S3Store

    config["region"] = config["region"] or _region(place.bucket, endpoint)
    if endpoint:
        config["endpoint"] = endpoint
    key, _, secret = place.credentials.partition(":")
    signed = "skip_signature" not in config
    if signed and secret:
        config |= {"access_key_id": unquote(key), "secret_access_key": unquote(secret)}
    elif signed and "AWS_ACCESS_KEY_ID" not in os.environ and (provider := _profiles()):
        common["credential_provider"] = provider
    return S3Store(place.bucket, config=cast("S3Config", config), **common)


def _region(bucket: str, endpoint: str) -> str:
    if endpoint:
        return "us-east-1"  # what MinIO and others take it for
    from pyarrow import fs

    return str(fs.resolve_s3_region(bucket))


def _profiles() -> Any:
    """Return the credentials of the AWS tools' own files, if there are any and boto3 is there."""
    if importlib.util.find_spec("boto3") is None:
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:  # none are set up
        return None


def _gcs(bucket: str, endpoint: str, config: dict[str, Any], common: dict[str, Any]) -> ObjectStore:
    from obstore.store import GCSStore

    if endpoint:
        config["base_url"] = endpoint
    return GCSStore(bucket, config=cast("GCSConfig", config), **common)
