"""Images on servers: HTTP, S3 and Google Cloud Storage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.sources import buckets
from raypipe.sources.local import check_size
from raypipe.sources.servers import counted, is_down, is_failing, public, server

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

REMOTE_SCHEMES = ("http", "https", "s3", "gs")

#: Seconds to wait for a connection and between two pieces of an answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0
#: The same for a server that has failed many times in a row.
HASTY_TIMEOUT = 5.0
#: Tries after the first one, and seconds that the waits between them start from and double.
RETRIES, BACKOFF, MAX_WAIT = 4, 0.5, 30.0
#: Redirects that are followed.
REDIRECTS = 5

_TRANSIENT = frozenset([408, 425, 429, 500, 502, 503, 504])
# It is about who asks: with other credentials, the next run may read it.
_OF_CALLER = frozenset([401, 407])
_PIECE = 2**18
_PROBES = 8
_CONNECTIONS = 64


def read_remote(uri: str, max_bytes: int, etag: str | None = None) -> bytes:
    """Return the bytes behind a URI; may be called from several threads.

    Args:
        uri: the URI.
        max_bytes: as many there may be.
        etag: of a bucket's object as its store has listed it; None where it is not known.

    Raises:
        RejectedItem: UNREADABLE where the server said that they cannot be had, UNAVAILABLE where
            it gave no answer after several tries, CHANGED where they are not what was listed,
            TOO_LARGE where there are more than `max_bytes`.
    """
    with counted(uri):
        return _fetch(uri, max_bytes, 0 if is_failing(uri) else RETRIES, etag)


def check_reachable(uris: Sequence[str]) -> None:
    """Try a few of the URIs; paths among them are left out.

    Raises:
        RaypipeError: not one server gave an answer.
    """
    remote = [uri for uri in uris if uri.partition("://")[0] in REMOTE_SCHEMES]
    probes = remote[:: max(1, len(remote) // _PROBES)][:_PROBES]
    with ThreadPoolExecutor(_PROBES) as pool:
        answers = list(pool.map(_probe, probes))
    if answers and all(answers):
        raise RaypipeError(
            f"SOURCE: {server(probes[0])} did not answer ({answers[0]}); nothing has been "
            "changed, run the same command again"
        )


def _probe(uri: str) -> str:
    """Return why there was no answer, or nothing if there was one, even if it was no."""
    try:
        if uri.startswith("http"):
            _get(uri, RETRIES, {"Range": "bytes=0-0"}).close()
        else:
            buckets.probe(uri)
    except RejectedItem as reject:
        return reject.message if is_down(reject) else ""
    return ""


def _fetch(uri: str, max_bytes: int, retries: int, etag: str | None) -> bytes:
    if not uri.startswith("http"):
        return buckets.read_object(uri, max_bytes, etag)
    from urllib3.exceptions import HTTPError

    wait = BACKOFF
    while True:
        response = _get(uri, retries)
        try:
            return _body(response, max_bytes)
        except HTTPError as error:  # the connection broke off in the middle
            retries -= 1
            if retries < 0:
                raise _unavailable(uri, error) from None
            time.sleep(wait)
            wait = min(2 * wait, MAX_WAIT)
        finally:
            response.close()


def _body(response: BaseHTTPResponse, max_bytes: int) -> bytes:
    announced = response.headers.get("Content-Length", "")
    check_size(int(announced) if announced.isdecimal() else 0, max_bytes)
    pieces, size = [], 0
    for piece in response.stream(_PIECE, decode_content=True):
        size += len(piece)
        check_size(size, max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _get(uri: str, retries: int, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
    """Return the answer, as yet unread, if it is one that holds the image.

    Raises:
        RejectedItem: it is not, or there is none.
    """
    from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ResponseError

    try:
        response = _pool(_proxy(server(uri))).request(
            "GET",
            _escaped(uri),
            headers=headers,
            preload_content=False,
            retries=_retry(retries),
            timeout=_timeout(hasty=not retries),
        )
    except MaxRetryError as error:
        if isinstance(error.reason, ResponseError):  # redirects without end
            raise RejectedItem(RejectReason.UNREADABLE, f"{error.reason}: {public(uri)}") from None
        raise _unavailable(uri, error.reason or error) from None
    except (LocationValueError, ValueError) as error:
        message = f"no valid URL ({type(error).__name__}): {public(uri)}"
        raise RejectedItem(RejectReason.UNREADABLE, message) from None
    except HTTPError as error:
        raise _unavailable(uri, error) from None
    if response.status in (200, 206):
        return response
    response.close()
    temporary = response.status in _TRANSIENT | _OF_CALLER or response.status >= 500
    reason = RejectReason.UNAVAILABLE if temporary else RejectReason.UNREADABLE
    raise RejectedItem(reason, f"{_status(response)}: {public(uri)}")


def _status(response: BaseHTTPResponse) -> str:
    return f"{response.status} {response.reason or ''}".strip()


def _unavailable(uri: str, error: Exception) -> RejectedItem:
    # The text of the library's errors holds the URL; its class says enough.
    message = f"no answer ({type(error).__name__}): {public(uri)}"
    return RejectedItem(RejectReason.UNAVAILABLE, message)


def _escaped(uri: str) -> str:
    """Escape what people write into URLs although it must not be there."""
    return quote(uri, safe="%/:=&?~#+!$,;'@()*[]")


def _timeout(*, hasty: bool) -> Any:
    from urllib3 import Timeout

    if hasty:
        return Timeout(connect=HASTY_TIMEOUT, read=HASTY_TIMEOUT)
    return Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)


def _retry(retries: int) -> Any:
    from urllib3.util import Retry

    return Retry(
        total=retries + REDIRECTS if retries else REDIRECTS,
        connect=retries,
        read=retries,
        status=retries,
        other=retries,
        redirect=REDIRECTS,
        backoff_factor=BACKOFF,
        backoff_max=MAX_WAIT,
        status_forcelist=_TRANSIENT,
        retry_after_max=int(MAX_WAIT) + 1,
        raise_on_status=False,
    )


@lru_cache(maxsize=1024)
def _proxy(address: str) -> str:
    """Return the proxy that the environment names for a server (`https_proxy`, `no_proxy`)."""
    scheme, _, host = address.partition("://")
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all") or ""
    return "" if not found or proxy_bypass(host) else found


@lru_cache(maxsize=8)
def _pool(proxy: str) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager, make_headers

    options: dict[str, Any] = {
        "num_pools": _CONNECTIONS,
        "maxsize": _CONNECTIONS,
        "headers": {"User-Agent": "raypipe"},
    }
    if not proxy:
        return PoolManager(**options)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    owner = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return ProxyManager(place, proxy_headers=make_headers(proxy_basic_auth=owner), **options)
