"""Names that a system gave and no person: there is no image behind them, in any kind of source."""

from __future__ import annotations

#: Why something is left aside, by rule.
HIDDEN = "hidden or a marker (its name begins with . or _)"
OF_SYSTEM = "left by a system (as Thumbs.db, desktop.ini, __MACOSX)"

#: Of Windows, macOS and Synology's stations, in small letters; files and folders.
_OF_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r"),
    "@eadir",
}


def why_hidden(path: str) -> str | None:
    """Return why what a path below a source names is left aside; None if it is not."""
    if path.startswith(".") or "/." in path:
        return HIDDEN
    return None if _OF_SYSTEMS.isdisjoint(path.lower().split("/")) else OF_SYSTEM
