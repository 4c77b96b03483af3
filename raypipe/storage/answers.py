"""Meaning of a bucket's failed requests, and what users are told."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from raypipe.errors import RaypipeError, UsageError
from raypipe.storage.objects import ObjectUri

_STATUS = re.compile(r"status(?: code)?:? (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET = "NoSuchBucket"
#: What is wrong with credentials, and will be right again with others.
_OF_CALLER = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
# 409: another upload of the same name is under way.
_TEMPORARY_STATUS = {"408", "409", "425", "429"}


@dataclass(frozen=True)
class Answer:
    """What a store said, or that it said nothing.

    Attributes:
        what: it said.
        definite: whether that is its last word.
        of_caller: whether it is about the one who asks, and not about what is asked for.
    """

    what: str
    definite: bool
    of_caller: bool = False


def answer(error: Exception) -> Answer:
    """Return what a failed request says of the object or of its store.

    The text of the error itself is never shown: it may hold the whole request.
    """
    from obstore import exceptions

    if isinstance(error, FileNotFoundError):
        return Answer("404 Not Found", True)
    text = str(error)
    if isinstance(error, exceptions.InvalidPathError) or "Could not parse path" in text:
        return Answer("a key with an empty part (`//`), `.` or `..`, which cannot be read", True)
    code, status = (found[1] if (found := one.search(text)) else "" for one in (_CODE, _STATUS))
    if isinstance(error, exceptions.PermissionDeniedError):
        return Answer(f"403 Forbidden{f' ({code})' if code else ''}", True, code in _OF_CALLER)
    if isinstance(error, exceptions.UnauthenticatedError):
        return Answer(f"401 Unauthorized{f' ({code})' if code else ''}", True, True)
    definite = status.startswith("4") and status not in _TEMPORARY_STATUS
    what = " ".join(filter(None, (status, code))) or _kind(text, error)
    return Answer(what, definite or isinstance(error, ValueError), code in _OF_CALLER)


@contextlib.contextmanager
def failures(place: ObjectUri, option: str, *expected: type[Exception]) -> Iterator[None]:
    """Make one line of what goes wrong with a request; what is expected is raised as it is."""
    try:
        yield
    except expected:
        raise
    except Exception as error:
        raise failure(place, error, option) from None


def failure(place: ObjectUri, error: Exception, option: str) -> RaypipeError:
    """Return the error that a user is to see: of exit 2 where it is no use to try again."""
    found = answer(error)
    if not found.definite:
        return RaypipeError(
            f"{option}: {place.uri} did not answer ({found.what}); what is stored is kept, and the "
            "same command goes on from there"
        )
    return UsageError(f"{option}: {place.uri}: {found.what}; {_remedy(found.what, error)}")


def _remedy(what: str, error: Exception) -> str:
    if what.startswith("a key"):
        return "rename such objects, or choose a prefix without them"
    if _NO_BUCKET in str(error) or isinstance(error, FileNotFoundError):
        return "create the bucket or correct its name"
    return "see that the credentials are there, have not expired, and allow this"


def _kind(text: str, error: Exception) -> str:
    """Name what went wrong on the way to the store, by words of its client."""
    words = {
        "timed out": "timeout",
        "timedout": "timeout",
        "response body": "the answer broke off",
        "tcp connect": "no connection",
        "dns": "no such host",
        "error sending request": "no connection",
    }
    lower = text.lower()
    return next((kind for word, kind in words.items() if word in lower), type(error).__name__)
