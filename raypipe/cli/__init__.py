"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import os
import sys

_BY_SIGNAL, _SIGINT = 128, 2  # as in `endings`, which takes more than this to import
_INTERRUPTED = "raypipe: interrupted\n"


def main() -> None:
    """Run the command line and exit with its status."""
    _open_streams()
    try:
        import signal

        names = ("SIGINT", "SIGTERM", "SIGHUP")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            if before[number] is not signal.SIG_IGN:  # as of nohup
                signal.signal(number, _end)
        # Threads of libgomp (torch's, scikit-learn's) that wait for each other run at full speed
        # for milliseconds, 300,000 turns, and take that from what else runs. These are about 10 µs.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        from raypipe.cli.app import main as run
        from raypipe.cli.endings import listen

        for number in numbers:
            signal.signal(number, before[number])
        listen()
        run()
    except KeyboardInterrupt as interrupt:  # before the command has begun, or after its end
        sys.stderr.write(_INTERRUPTED)
        sys.exit(_BY_SIGNAL + getattr(interrupt, "number", _SIGINT))


def _open_streams() -> None:
    """Open those of the three standard streams that the program was started without.

    The next files would have their numbers, and hold what is said. Each takes the lowest one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w" if number else "r")  # noqa: PTH123, SIM115 - for good
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _end(number: int, _frame: object) -> None:
    """End at once, while modules are imported: nothing has begun.

    An exception would be made another by some of them, as pydantic does.
    """
    os.write(2, _INTERRUPTED.encode())
    os._exit(_BY_SIGNAL + number)
