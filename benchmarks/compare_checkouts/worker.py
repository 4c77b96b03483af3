"""A process of one checkout: takes commands as lines of JSON, and answers with what they printed.

It is run as a script with the checkout on PYTHONPATH, and knows of it only what does not change:
`raypipe.cli.main` and `raypipe.open`. One Ray serves all commands.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer each line until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anybody else prints is no answer
    _check(Path(sys.argv[1]))
    _start_ray()
    for line in sys.stdin:
        given = json.loads(line)
        os.chdir(given["folder"])
        answer = _content(given["open"]) if "open" in given else _run(given["command"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _start_ray() -> None:
    import ray

    for tries_left in (2, 1, 0):
        try:
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception:  # Ray waits 30 s for its processes, which a busy machine may exceed
            if not tries_left:
                raise
            ray.shutdown()


def _check(checkout: Path) -> None:
    import raypipe

    found = Path(str(raypipe.__file__)).resolve()
    if checkout.resolve() not in found.parents:
        sys.exit(f"raypipe was imported from {found}, which is not in {checkout}")


def _run(command: list[str]) -> dict[str, Any]:
    from raypipe.cli import main as command_line

    sys.argv = ["raypipe", *command, "--json"]
    printed, said, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        try:
            command_line()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception:  # is told of like any other failure
            code = -1
            traceback.print_exc()
    return {
        "code": code,
        "json": json.loads(printed.getvalue() or "null"),
        "said": said.getvalue() if code else "",
    }


def _content(store: str) -> dict[str, Any]:
    """Return digests of what the Python API reads of a store: features, or predictions."""
    import raypipe

    opened = raypipe.open(store)
    found: dict[str, Any] = {"rows": len(opened), "columns": list(opened.columns)}
    if "predicted" in opened.columns:
        table = opened.to_arrow().sort_by("id")
        found |= {name: _digest(table[name].to_numpy()) for name in table.column_names}
        return {"code": 0, "json": found, "said": ""}
    for column in opened.columns:
        rows = opened.to_numpy(column)
        for name in ("ids", "labels", "views", "features"):
            found[f"{column}.{name}"] = _digest(getattr(rows, name))
    return {"code": 0, "json": found, "said": ""}


def _digest(array: Any) -> str:
    """Return type, shape and checksum: other bits give another one."""
    text = array.dtype == object
    data = "\n".join(map(str, array)).encode() if text else array.tobytes()
    return f"{array.dtype} {array.shape} {hashlib.sha256(data).hexdigest()}"


if __name__ == "__main__":
    main()
