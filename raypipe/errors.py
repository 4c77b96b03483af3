"""The exceptions users see; the enum of reject reasons."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum


class RaypipeError(Exception):
    """Something went wrong that is worth one clear line instead of a stack trace."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows of it."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(RaypipeError, ValueError):
    """Wrong use: the message says which option, what is allowed, what was received, what to do."""

    exit_code = 2


class CallError(UsageError, TypeError):
    """A call in Python with arguments that the function does not have, or without some it needs."""


class RejectReason(StrEnum):
    """Why an item could not become a feature."""

    EMPTY = "empty"
    """The file has no bytes."""
    UNREADABLE = "unreadable"
    """The bytes could not be fetched, because there are none or they may not be read."""
    UNAVAILABLE = "unavailable"
    """The server or drive that holds the bytes did not answer, or answered with an error of its
    own."""
    CHANGED = "changed"
    """Another version than the one that was listed, or gone."""
    DAMAGED = "damaged"
    """The bytes are not those that its archive's directory has the checksum of."""
    NOT_AN_IMAGE = "not_an_image"
    """The content is no image format that can be recognised."""
    TRUNCATED = "truncated"
    """The image ends before its last pixel."""
    CORRUPT = "corrupt"
    """The image is damaged."""
    UNSUPPORTED = "unsupported"
    """A valid image of a kind that has no stated rule for conversion to RGB."""
    CRASHED = "crashed"
    """Decoding it killed the process, again and again."""
    TOO_LARGE = "too_large"
    """More pixels than the cap allows, or more memory; nearly always found out before decoding."""
    TOO_SLOW = "too_slow"
    """Decoding it takes longer than --max-seconds-per-image."""
    NOT_FINITE = "not_finite"
    """A feature is NaN or infinite, or does not fit the type it is stored in."""


#: Reasons that may pass while the item's version stays the same: the next run tries it again.
MAY_PASS = frozenset({RejectReason.UNAVAILABLE, RejectReason.CHANGED, RejectReason.DAMAGED})


class RejectedItem(Exception):  # noqa: N818 - an outcome that becomes a row, not a failure
    """Raised while an item is read or decoded; becomes a row in the rejects partition."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[RejectedItem], tuple[RejectReason, str]]:
        """Return how it is made again in another process."""
        return type(self), (self.reason, self.message)


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a phrase that suggests the known names closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""
