"""Where a flow runs: on Ray, or in this process, where it is done before Ray would have started.

The steps do not know. Either goes on with what the other has left: units, batches and bits are the
same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from raypipe.config import RayConfig
from raypipe.config.values import Actors
from raypipe.rows.unit import Unit
from raypipe.steps.batch import Batch, ReadOptions
from raypipe.steps.pool_plan import Replicas
from raypipe.storage import Storage

if TYPE_CHECKING:  # it takes torch
    from raypipe.backbone import Backbone

T = TypeVar("T")
Finish = Callable[[Batch], "Batch | pa.Table"]

#: Work of so many seconds is done here; for so many images with a GPU, which is fast, but not
#: where one process feeds it.
_SECONDS, _WITH_GPU = 60.0, 64
#: More images than this take longer with any network.
MANY = 50_000
#: What an image is taken to need beside the network; and where there was none to try, with it.
_DECODING, _UNKNOWN = 0.01, 0.1


class Executor(Protocol):
    """Runs the flow's steps somewhere."""

    def device(self) -> str:
        """Return the torch device of replicas."""

    def slots(self) -> int:
        """Return how many replicas there is room for."""

    def best_precision(self) -> str:
        """Return what `--precision auto` means on the hardware of replicas."""

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function where a replica could run."""

    def replicas(
        self, actors: Actors, batch_size: int, units: int, *, compiled: bool = False
    ) -> Replicas:
        """Plan the pool of replicas.

        Args:
            actors: how many are asked for.
            batch_size: images per forward pass.
            units: how many units there are; more replicas than that would idle.
            compiled: whether they compile the network.

        Raises:
            UsageError: `actors` asks for more than there is room for.
        """

    def check_reach(self, items: Iterable[pa.Table], source: str, storage: Storage | None) -> None:
        """Make sure that all processes see what the work is done on; see `runtime.check_reach`."""

    def run(
        self,
        units: list[Unit],
        backbone: Backbone,
        options: ReadOptions,
        replicas: Replicas,
        finish: Finish,
        key: str,
    ) -> Iterator[pa.Table]:
        """Run the steps; yield a block per unit, as units are finished.

        Args:
            units: what is to be done.
            backbone: the network.
            options: how items are read, and what the features are.
            replicas: the pool.
            finish: the last step.
            key: the column of a block that says which unit it is: `unit`, or `id`, whose first
                value is that of the unit's first item.

        Raises:
            RaypipeError: a step failed for good.
        """


def choose(config: RayConfig, stack: ExitStack, images: int) -> Executor:
    """Return where to run as far as one knows by the number of images; see `suited`.

    Args:
        config: the options.
        stack: Ray runs until it is closed, if it is started.
        images: how many there are, or are known by now.
    """
    if images > MANY or _asks_for_ray(config):
        return on_ray(config, stack)
    from raypipe.flow.here import Here

    here, actors = Here(), config.actors.bounds
    small = here.device() == "cpu" or images <= _WITH_GPU
    has_room = actors is None or actors[0] <= here.slots()
    return here if small and has_room else on_ray(config, stack)


def suited(
    executor: Executor,
    config: RayConfig,
    stack: ExitStack,
    images: int,
    seconds: float | None,
    *,
    gpu_decoded: bool = False,
) -> Executor:
    """Return where to run, now that it is known how much there is to do.

    Args:
        executor: of `choose`.
        config: the options.
        stack: Ray runs until it is closed, if it is started.
        images: how many are to be done.
        seconds: of one replica's time for an image; None if it is not known.
        gpu_decoded: whether GPUs decode, which they do on Ray only.
    """
    from raypipe.flow.here import Here

    each = _UNKNOWN if seconds is None else seconds + _DECODING
    stays = not isinstance(executor, Here) or executor.stays
    if stays or (not gpu_decoded and images * each / executor.slots() <= _SECONDS):
        return executor
    return on_ray(config, stack)


def on_ray(config: RayConfig, stack: ExitStack) -> Executor:
    """Join Ray or start it, until the stack is closed."""
    from raypipe import runtime
    from raypipe.flow.on_ray import OnRay

    stack.enter_context(runtime.session(config.address))
    return OnRay(config.wait_for)


def _asks_for_ray(config: RayConfig) -> bool:
    """Whether there is Ray to use, or it is what was asked for."""
    given = config.address or os.environ.get("RAY_ADDRESS") or config.wait_for != "none"
    return bool(given) or ("ray" in sys.modules and sys.modules["ray"].is_initialized())
