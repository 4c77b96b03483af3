"""Outages: a unit of which nothing can be read stops the run, before others fail like it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from raypipe.errors import RaypipeError, RejectReason

_ITEMS = 8  # a few images may be unlucky alone
_UNITS = 2  # so may one stretch of a drive

# The last run of this process, and its units in a row that a drive or several servers gave
# nothing of.
_run, _down = "", 0


def check_outage(
    reasons: npt.NDArray[np.object_],
    messages: npt.NDArray[np.object_],
    run: str,
    *,
    one_server: bool,
) -> None:
    """Stop if nothing came of a unit's items, and what follows would fail in the same way.

    What has changed or is gone since it was listed stops the run at once: the next one lists it
    anew. So does the only server there is. A drive that gives faults is tried with one more unit.

    Args:
        reasons: (N,) why each item is a reject; empty for one that is none.
        messages: (N,) the same in detail.
        run: what tells it from others of this process.
        one_server: whether all items of the run come from the same server.

    Raises:
        RaypipeError: it is an outage.
    """
    global _run, _down
    _run, _down = run, _down if run == _run else 0
    is_changed = reasons == RejectReason.CHANGED.value
    is_down = reasons == RejectReason.UNAVAILABLE.value
    if len(reasons) < _ITEMS or not (is_changed | is_down).all():
        _down = 0
        return
    _down += 1
    if one_server or is_changed.any() or _down >= _UNITS:
        _down = 0
        what = "is what was listed" if is_changed.all() else "could be read"
        raise RaypipeError(f"SOURCE: none of {len(reasons)} images {what}: {messages[0]}")
