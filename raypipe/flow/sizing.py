"""Settings found before a flow starts: batches, compilation, and whether the arithmetic will do.

Bits of features depend on the first two. So a store keeps them, and later runs compute alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raypipe import schema
from raypipe.cli.command import one_line
from raypipe.config import RayConfig
from raypipe.display import say
from raypipe.errors import RaypipeError, RejectedItem, UsageError
from raypipe.flow.executor import Executor
from raypipe.images import Pixels
from raypipe.images.jpeg import is_plain_jpeg
from raypipe.memory import available, readable
from raypipe.sources.remote import check_reachable
from raypipe.spec import Spec
from raypipe.steps.apart import decoded_apart, limited
from raypipe.steps.batch import ReadOptions
from raypipe.steps.read import Fetch

if TYPE_CHECKING:  # they take torch
    import pyarrow as pa

    from raypipe.backbone import Backbone
    from raypipe.flow.trial import Trial

_SAMPLE, _SAMPLED_PIXELS = 4, 25 * 10**6
_LONG_RUN = 600.0  # seconds of computing, of which finding out about compiling takes a tenth
_WORTHWHILE, _FEW = 1.05, 64
_SURE = 64  # images in a pass, for which memory suffices


@dataclass(frozen=True)
class Sizing:
    """How replicas compute.

    Attributes:
        device: torch device it was settled for.
        batch_size: images per forward pass.
        compiled: whether the network is compiled.
        seconds: of a replica's time for an image, by the first pass; None where none was made.
    """

    device: str
    batch_size: int
    compiled: bool
    seconds: float | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what a store keeps."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


def settle(
    executor: Executor,
    config: RayConfig,
    backbone: Backbone,
    options: ReadOptions,
    some: Iterable[pa.Table],
    *,
    images: int,
    kept: Mapping[str, Any] | None = None,
) -> Sizing:
    """Try the network out where replicas will run, and settle what the options leave open.

    Args:
        executor: where the flow is to run.
        config: the options.
        backbone: the network.
        options: how items are read, and what the features are.
        some: a few items of each of some runs of items, to sample images from.
        images: how many there are in all.
        kept: what the store has kept of its first run; None where these would be the network's
            first features. Later, images whose features cannot be kept are rejects, even if there
            are no others.

    Raises:
        UsageError: features in this precision are too far from those in float32, or none of the
            first ones can be kept; passes are of more images than memory can hold; a GPU is to
            decode, and there is none, or features are too far from those of the CPU's pixels.
        RaypipeError: the items are on a server that does not answer.
    """
    items, spec = list(some), options.spec
    check_reachable([table[schema.URI][0].as_py() for table in items])
    device = executor.device()
    if spec.preprocess.gpu_decoded:
        _check_decoder(device)
        _compare_decoders(executor, backbone, options, items, device)
    earlier = kept if kept and kept.get("device") == device else {}
    ask_size = config.batch_size == "auto" and not earlier and device == "cuda"
    # A few images, of a network whose features a store has: trying it out would take longer.
    few = kept is not None and not kept and images <= _FEW and device == "cpu"
    sample = _sample(() if few else items, options)
    _compare_with_untouched(backbone, spec, sample)
    trial = _try_out(executor, backbone, spec, sample, device, ask_size)
    if trial is not None:
        _check(trial, spec, first=kept is None)
    if config.batch_size != "auto" and device == "cpu":
        _check_room(executor, backbone, spec, config.batch_size)
    batch_size = _batch_size(config, backbone, spec, trial, earlier)
    if config.compile != "auto":
        compiled = config.compile == "on"
    elif earlier:
        compiled = bool(earlier["compiled"])
    else:  # not by what is still to be done: a run that goes on after a kill computes alike
        long = trial is not None and images * trial.seconds / executor.slots() > _LONG_RUN
        compiled = long and _gains_by_compiling(executor, backbone, spec, device, batch_size)
    return Sizing(device, batch_size, compiled, trial.seconds if trial else None)


def _compare_with_untouched(backbone: Backbone, spec: Spec, images: Pixels) -> None:
    """Stop if the network that was rewritten gives something else than the untouched one."""
    import torch

    from raypipe.backbone.resemblance import check_resemblance
    from raypipe.images.transforms import normalize

    if not len(images):
        return
    try:
        check_resemblance(backbone, normalize(torch.from_numpy(images[:2]), spec.preprocess))
    except UsageError:
        raise
    except Exception as error:  # where it is tried out, a network that fails is named
        say(f"the rewritten network could not be compared on sampled images: {one_line(error)}")


def _try_out(
    executor: Executor,
    backbone: Backbone,
    spec: Spec,
    images: Pixels,
    device: str,
    ask_size: bool,
) -> Trial | None:
    if not len(images):  # rejects only, as far as one has seen
        return None
    from raypipe.flow.trial import try_out

    attempt = partial(try_out, device=device, find_batch_size=ask_size)
    try:
        return executor.call(attempt, backbone, spec, images)
    except RaypipeError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        raise RaypipeError(
            f"--backbone: {spec.backbone} fails on a real image: {type(error).__name__}: {error}"
        ) from error


def _sample(some: Iterable[pa.Table], options: ReadOptions) -> Pixels:
    """Return the first image that can be read of each run of items, decoded in a process apart."""
    found: list[Pixels] = []
    # What is large is left to processes of the flow.
    small = replace(options, max_pixels=min(options.max_pixels, _SAMPLED_PIXELS))
    with limited(small) as within:
        for items in some:
            # One by one: the process that decodes goes on from one that is done to the next.
            each = (items.slice(row, 1) for row in range(len(items)))
            pixels = (one for item in each for one in decoded_apart(item, within))
            readable = (one for one in pixels if not isinstance(one, RejectedItem))
            found += [views[:1] for views in [next(readable, None)] if views is not None]
            if len(found) == _SAMPLE:
                break
    blank = np.zeros((0, *options.spec.preprocess.shape, 3), options.spec.pixel_type)
    return np.concatenate([blank, *found])


def _is_plain(data: bytes | RejectedItem, max_pixels: int) -> bool:
    return not isinstance(data, RejectedItem) and is_plain_jpeg(data, max_pixels)


def _check_decoder(device: str) -> None:
    if device == "cpu":
        raise UsageError(
            "--gpu-decode: the Ray cluster has no GPU; leave it out for a new store, or use a "
            "cluster with GPUs: features of images that a GPU decoded go with each other only"
        )


def _compare_decoders(
    executor: Executor,
    backbone: Backbone,
    options: ReadOptions,
    some: Iterable[pa.Table],
    device: str,
) -> None:
    """Say how far features are from those of images that the CPU decodes; stop if too far."""
    from raypipe.backbone.hardware.parity import ENOUGH
    from raypipe.flow.trial import decoding_parity

    each = ((data for _, _, data in Fetch()(items, options)) for items in some)
    jpegs = [next((d for d in found if _is_plain(d, options.max_pixels)), b"") for found in each]
    sample = [data for data in jpegs if data][:_SAMPLE]
    if not sample:
        return
    attempt = partial(decoding_parity, device=device, max_pixels=options.max_pixels)
    least = executor.call(attempt, backbone, options.spec, sample)
    if least < ENOUGH:
        raise UsageError(
            f"--gpu-decode: on sampled images, features have a cosine of {least:.4f} to those of "
            f"images decoded by the CPU, at least {ENOUGH} is wanted; leave it out"
        )
    say(f"decoded by the GPU: cosine to decoded by the CPU at least {least:.4f} on sampled images")


def _check(trial: Trial, spec: Spec, *, first: bool) -> None:
    from raypipe.backbone.hardware.parity import ENOUGH

    if trial.lost and first:
        column, why = next(iter(trial.lost.items()))
        raise UsageError(f"--backbone: on all sampled images, {column} of {spec.backbone} is {why}")
    if not trial.parity:
        return
    least = min(trial.parity.values())
    if least < ENOUGH:
        advice = (
            "give --precision fp32"
            if spec.precision != "fp32"
            else "its arithmetic is not stable; cut at an earlier --layer"
        )
        raise UsageError(
            f"--precision: on sampled images, features in {spec.precision} have a cosine of "
            f"{least:.4f} to those in plain fp32, at least {ENOUGH} is wanted; {advice}"
        )
    say(
        f"checked on sampled images: {spec.precision} gives the features of fp32, with a cosine "
        f"similarity of {least:.4f} or more"
    )


def _batch_size(
    config: RayConfig,
    backbone: Backbone,
    spec: Spec,
    trial: Trial | None,
    earlier: Mapping[str, Any],
) -> int:
    if config.batch_size != "auto":
        return config.batch_size
    if earlier:
        return int(earlier["batch_size"])
    if trial is not None and trial.batch_size is not None:
        return trial.batch_size
    from raypipe.backbone.hardware.footprint import cpu_batch_size

    return cpu_batch_size(backbone, spec)


def _check_room(executor: Executor, backbone: Backbone, spec: Spec, images: int) -> None:
    """Refuse passes that memory cannot hold: the system would end the process, without a word."""
    from raypipe.backbone.hardware.footprint import pass_bytes

    if images <= _SURE:
        return
    needed, free = pass_bytes(backbone, spec, images), executor.call(available)
    if needed > free:
        raise UsageError(
            f"--batch-size: a pass of {images} images takes {readable(needed)} or more, and "
            f"{readable(free)} of memory are free; give fewer, or auto"
        )


def _gains_by_compiling(
    executor: Executor, backbone: Backbone, spec: Spec, device: str, batch_size: int
) -> bool:
    from raypipe.flow.trial import compiling_gain

    say("a long run: trying whether the network is faster compiled")
    attempt = partial(compiling_gain, device=device, batch_size=batch_size)
    try:
        gain = executor.call(attempt, backbone, spec)
    except RaypipeError as error:
        say(str(error))
        return False
    say(f"compiled, it is {gain:.2f} times as fast")
    return gain > _WORTHWHILE
