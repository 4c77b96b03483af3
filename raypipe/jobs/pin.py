"""Keep a snapshot of a store from being expired."""

from __future__ import annotations

from raypipe.cli.command import Outcome, run_job
from raypipe.config import PinConfig
from raypipe.errors import UsageError
from raypipe.store.reader import StoreReader
from raypipe.store.retention import pin, pins, unpin


def run(config: PinConfig) -> Outcome:
    """Pin or unpin; see `PinConfig` for the options.

    Raises:
        UsageError: there is no such store, snapshot or pin.
    """
    store = StoreReader(config.store, config.snapshot)
    if config.remove:
        unpin(store.storage, config.name)
    elif not store.snapshot.number:
        raise UsageError(f"STORE: {store.uri} has no snapshot yet; run `raypipe extract` first")
    else:
        pin(store.storage, config.name, store.snapshot.number)
    known = pins(store.storage)
    listed = ", ".join(f"{name} → snapshot {number}" for name, number in sorted(known.items()))
    text = f"{store.uri}: pins: {listed or 'none'}"
    return Outcome({"store": store.uri, "pins": known}, text, store)


def main() -> None:
    """Run from the command line."""
    run_job("pin", PinConfig)


if __name__ == "__main__":
    main()
