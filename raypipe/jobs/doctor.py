"""Measuring of what limits an extraction, and at which rate."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from raypipe.cli.command import Outcome, run_job
from raypipe.config import DoctorConfig
from raypipe.diagnosis.pictures import listed_pictures
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.flow.ingest import check_apart
from raypipe.flow.named import check_named
from raypipe.flow.plan import make_plan
from raypipe.flow.prepare import Extractor, load_extractor, spec_of
from raypipe.images.augment import resolve_augment
from raypipe.rows.listing import Listing
from raypipe.sources import open_source
from raypipe.storage import check_not_within, open_storage

_IMAGES = 1_000_000


def run(config: DoctorConfig) -> Outcome:
    """Measure; see `DoctorConfig` for the options.

    Raises:
        UsageError: the options cannot work, or no image can be decoded.
        RaypipeError: a step failed.
    """
    _check(config)
    from raypipe import runtime  # takes Ray and torch: seconds
    from raypipe.diagnosis.findings import report
    from raypipe.diagnosis.machine import busy, look_everywhere
    from raypipe.diagnosis.measure import measure, scratch

    started, others = time.monotonic(), busy()
    with ExitStack() as stack:
        folder = stack.enter_context(scratch(config.out))
        listing, source = _listing(config, folder)
        stack.enter_context(listing)
        images = config.images or (len(listing) if config.source else _IMAGES)
        network = _network(config)
        stack.enter_context(runtime.session(config.address, wait=config.wait_for))
        precision = runtime.best_precision() if config.precision == "auto" else config.precision
        spec = spec_of(config, network, resolve_augment(config), precision)
        measured = measure(
            config,
            network.backbone,
            spec,
            make_plan(listing, None, spec),
            folder / "store",
            stack,
            source=source,
            images=images,
            seconds=config.seconds,
            most=config.sample,
        )
        if not measured.cost.images:
            reasons = ", ".join(measured.cost.rejects)
            raise UsageError(
                f"SOURCE: none of {measured.cost.items} sampled images can be decoded ({reasons}); "
                "give a source with images"
            )
        machines, start = look_everywhere(), measured.first_at - started
    summary, text = report(
        config, spec, measured, machines, images=images, start=start, others=others
    )
    shapes = {column: list(shape) for column, (shape, _) in network.shapes.items()}
    summary |= {"features": shapes, "seconds": round(time.monotonic() - started, 1)}
    return Outcome(summary, text, measured)


def _check(config: DoctorConfig) -> None:
    """Check what takes neither Ray nor torch."""
    resolve_augment(config)
    check_named(config)
    if config.source is not None:
        uri = open_source(config).uri
        if config.out is not None:
            check_apart(open_storage(config.out), uri)
            check_not_within(config.out)


def _listing(config: DoctorConfig, folder: Path) -> tuple[Listing, str]:
    """Return what there is to measure on, and where it is from."""
    if config.source is None:
        return listed_pictures(folder / "pictures"), str(folder)
    source = open_source(config)
    listing = Listing(source.list())
    if not len(listing):
        listing.close()
        raise UsageError(f"SOURCE: no images in {source.uri!r}")
    return listing, source.uri


def _network(config: DoctorConfig) -> Extractor:
    """Load the network; without its weights, random ones tell the speed as well."""
    from raypipe.backbone.weights import WeightsUnavailableError

    try:
        return load_extractor(config)
    except WeightsUnavailableError:
        say(f"the weights of {config.backbone} cannot be downloaded; measuring with random ones")
        changed = {"weights": "random", "weights_sha256": None}
        return load_extractor(config.model_copy(update=changed))


def main() -> None:
    """Run from the command line."""
    run_job("doctor", DoctorConfig)


if __name__ == "__main__":
    main()
