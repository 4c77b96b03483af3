"""Where a table's references to images may point: it may come from anybody."""

from __future__ import annotations

import functools
import ipaddress
import posixpath
import re
import socket
from urllib.parse import urlsplit

from raypipe.errors import UsageError
from raypipe.storage import is_object

#: Services of clouds that hand out the machine's credentials to whoever asks on it.
_METADATA_NAMES = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data")
_METADATA_ADDRESSES = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),
    ipaddress.ip_network("100.100.100.200/32"),
)
_BEHIND_HOST = re.compile(r"[/\\?#]")
_REMEDY = "give --allow-outside if you trust the table"


def may_be_outside(uri: str) -> bool:
    """Whether a reference has to be looked at: the others are relative to the table's folder."""
    return uri.startswith("/") or ".." in uri or "://" in uri


def check_path(path: str, folder: str, row: str) -> None:
    """Make sure that a local file lies below the folder of the table that names it.

    Raises:
        UsageError: it does not.
    """
    place = posixpath.normpath(path)
    own = [] if is_object(folder) else [posixpath.abspath(folder), _real(folder)]
    if not any(place.startswith(f"{root.rstrip('/')}/") for root in own):
        raise UsageError(
            f"SOURCE: {row}: expected an image below the table's own folder, {folder!r}; got "
            f"{path!r}: {_REMEDY}"
        )


def check_address(uri: str, row: str) -> None:
    """Make sure that an http(s) address is none that only this machine reaches.

    Raises:
        UsageError: it is a link-local one, or that of a cloud's metadata.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in ("http", "https") and _is_metadata(_BEHIND_HOST.split(rest, 1)[0]):
        raise UsageError(
            f"SOURCE: {row}: expected an address on the network; got {uri!r}, which is "
            f"link-local, as a cloud's metadata are: {_REMEDY}"
        )


@functools.lru_cache(64)
def _real(folder: str) -> str:
    return posixpath.realpath(folder)


@functools.lru_cache(1024)
def _is_metadata(netloc: str) -> bool:
    try:
        host = (urlsplit(f"//{netloc}").hostname or "").rstrip(".").partition("%")[0]
    except ValueError:
        return False  # brackets that do not match: nothing that can be asked
    if host in _METADATA_NAMES:
        return True
    try:
        # As the system reads it: 2852039166 and 0xa9fea9fe are addresses, too.
        found = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return False  # a name
    address = getattr(found, "ipv4_mapped", None) or found
    return any(address in network for network in _METADATA_ADDRESSES)
