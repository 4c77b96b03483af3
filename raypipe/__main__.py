"""`python -m raypipe COMMAND …`, for where the command `raypipe` is not on the path."""

from __future__ import annotations

import sys

_NEEDS = (3, 11)

if __name__ == "__main__":
    # Code may be sent to a cluster that has another Python, or lacks what is imported.
    if sys.version_info < _NEEDS:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"raypipe: needs Python {'.'.join(map(str, _NEEDS))} or newer; this is {found}")
    try:
        from raypipe.cli import main
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"raypipe: the package {error.name!r} is not installed for {sys.executable}; "
            "install raypipe there, on each node of a cluster\n"
        )
        sys.exit(2)
    main()
