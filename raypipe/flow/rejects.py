"""Whether too many images are rejects for a run to be called a good one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa

from raypipe import schema
from raypipe.config.values import Bar
from raypipe.display import counted
from raypipe.errors import RaypipeError

_EXAMPLES = 3


def check_rejects(
    images: int, rejects: int, allowed: Bar | None, place: str, details: Callable[[], pa.Table]
) -> None:
    """Make sure that there is an image that became a row, and no more rejects than there may be.

    Args:
        images: how many became rows.
        rejects: how many did not.
        allowed: how many may not; None takes any number, if there is an image that did.
        place: where the good ones are.
        details: returns the rejects, of `schema.REJECTS` or with its `id`, `reason` and `message`.

    Raises:
        RaypipeError: there is none, or there are more; with the reasons, and examples.
    """
    total = images + rejects
    if not rejects or (allowed.is_met(rejects, total) if allowed else images):
        return
    table = details()
    reasons = Counter(table[schema.REASON].to_pylist())
    counts = ", ".join(f"{count} × {reason}" for reason, count in sorted(reasons.items()))
    some = table.slice(0, _EXAMPLES).to_pylist()
    examples = "; ".join(f"{row[schema.ID]!r}: {row[schema.MESSAGE]}" for row in some)
    if images:
        what = f"{rejects} of {total} images are rejects, more than --max-rejects {allowed}"
        kept = f"; the other {images} are in {place}"
    else:
        what, kept = f"not one of {counted(total, 'image')} became a row", ""
    raise RaypipeError(f"SOURCE: {what} ({counts}), as {examples}{kept}")
