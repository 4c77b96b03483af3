"""What a machine has to compute with, and what makes it slow."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from raypipe.memory import available, readable

__all__ = ["Gpu", "Machine", "busy", "look", "warnings"]

_SHARED_MEMORY = Path("/dev/shm")
_FULL = 0.8


@dataclass(frozen=True)
class Gpu:
    """A GPU, and its memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True)
class Machine:
    """One node's hardware, as a replica on it sees it.

    Attributes:
        cores: logical cores this process may run on.
        physical: cores without hyper-threads; 0 where that cannot be told.
        quota: cores' worth of time that its container gets; None without a limit.
        capability: vector instructions that PyTorch uses.
        bf16: whether cores compute in bfloat16 (AVX-512 BF16).
        amx: whether they have matrix tiles.
        memory: bytes.
        free: bytes that can be taken without swapping, within the limits of its container.
        swapped: bytes that are swapped out.
        shared: bytes of /dev/shm; 0 where there is none.
        threads: PyTorch's threads in one replica.
        gpus: the replica's own.
    """

    cores: int
    physical: int
    quota: float | None
    capability: str
    bf16: bool
    amx: bool
    memory: int
    free: int
    swapped: int
    shared: int
    threads: int
    gpus: tuple[Gpu, ...]

    def __str__(self) -> str:
        special = (("AVX-512 BF16", self.bf16), ("AMX", self.amx))
        parts = [
            f"{self.cores} cores",
            ", ".join([self.capability, *(name for name, there in special if there)]),
            readable(self.memory),
            *(f"{gpu.name} with {readable(gpu.memory)}" for gpu in self.gpus),
        ]
        return "; ".join(parts)


def look(*, gpus: bool = False, root: Path = Path("/")) -> Machine:
    """Return what this machine has.

    Args:
        gpus: whether to look at GPUs, which takes some of their memory.
        root: where /sys is.
    """
    import torch

    supported = torch.cpu  # its questions have no public names
    return Machine(
        cores=_cores(),
        physical=psutil.cpu_count(logical=False) or 0,
        quota=_quota(root / "sys/fs/cgroup"),
        capability=torch.backends.cpu.get_cpu_capability(),
        bf16=bool(getattr(supported, "_is_avx512_bf16_supported", bool)()),
        amx=bool(getattr(supported, "_is_amx_tile_supported", bool)()),
        memory=int(psutil.virtual_memory().total),
        free=available(root),
        swapped=int(psutil.swap_memory().used),
        shared=shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else 0,
        threads=torch.get_num_threads(),
        gpus=tuple(
            Gpu(torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory)
            for i in range(torch.cuda.device_count() if gpus else 0)
        ),
    )


def warnings(
    machine: Machine, *, cpus: int, replicas: int, replica_memory: int, store: int, in_flight: int
) -> list[str]:
    """Return what makes this machine slow, a line each.

    Args:
        machine: its hardware.
        cpus: cores that Ray gives out on it.
        replicas: how many run on it.
        replica_memory: most bytes that one of them took.
        store: bytes of its object store.
        in_flight: bytes of pixels on their way to GPUs at any time.
    """
    computing = _about_cores(machine, cpus, replicas)
    return computing + _about_memory(machine, replicas * replica_memory, store, in_flight)


def _about_cores(machine: Machine, cpus: int, replicas: int) -> list[str]:
    found = []
    if machine.quota is not None and machine.quota < cpus - 0.01:
        found.append(
            f"Ray gives out {cpus} cores, and the container gets the time of {machine.quota:.3g}: "
            f"give --actors {max(1, int(machine.quota))}"
        )
    if replicas * machine.threads > machine.cores and not machine.gpus:
        found.append(
            f"{replicas} replicas with {machine.threads} threads each share {machine.cores} cores: "
            "set OMP_NUM_THREADS=1"
        )
    if replicas and not (machine.bf16 or machine.gpus):
        found.append(
            "the CPU has no bfloat16, so the network is computed in fp32, at half the speed or "
            "less of one that has"
        )
    return found


def _about_memory(machine: Machine, taken: int, store: int, in_flight: int) -> list[str]:
    found = []
    if taken > _FULL * machine.free:
        found.append(
            f"the replicas take {readable(taken)} of {readable(machine.free)} that are free: give "
            "a smaller --batch-size or fewer --actors"
        )
    if machine.swapped > machine.memory // 20:
        found.append(f"{readable(machine.swapped)} are swapped out")
    if machine.shared < store:
        found.append(
            f"/dev/shm has {readable(machine.shared)}, less than the object store "
            f"({readable(store)}), which is then kept on disk: give the container a larger one "
            "(--shm-size)"
        )
    if in_flight > store:
        found.append(
            f"pixels on their way to the GPUs take {readable(in_flight)}, and the object store has "
            f"{readable(store)}: start Ray with a larger --object-store-memory"
        )
    return found


def busy(seconds: float = 0.5) -> float:
    """Return the share of this machine's time that other processes take now."""
    return float(psutil.cpu_percent(seconds)) / 100


def _cores() -> int:
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(groups: Path) -> float | None:
    """Return the cores' worth of time of this container, by either version of control groups."""
    with contextlib.suppress(OSError, ValueError):
        allowed, period = (groups / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    with contextlib.suppress(OSError, ValueError):
        micros = int((groups / "cpu/cpu.cfs_quota_us").read_text())
        period_micros = int((groups / "cpu/cpu.cfs_period_us").read_text())
        return micros / period_micros if micros > 0 else None
    return None
