"""The hardware of nodes, and what makes them slow."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.memory import readable
from raypipe.runtime.cluster_nodes import alive_nodes

_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Machine:
    """One node's hardware.

    Attributes:
        cores: logical cores that a process may run on.
        cpus: those that Ray gives out.
        quota: cores' worth of time that its container gets; None without a limit.
        vectors: instructions that PyTorch uses.
        bf16: whether cores compute in bfloat16 (AVX-512 BF16).
        memory: bytes.
        swapped: bytes that are swapped out.
        shared: bytes of /dev/shm; 0 where there is none.
        store: bytes of Ray's object store.
        gpus: its GPUs: names, and memory in bytes.
    """

    cores: int
    cpus: int
    quota: float | None
    vectors: str
    bf16: bool
    memory: int
    swapped: int
    shared: int
    store: int
    gpus: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        parts = [f"{self.cores} cores", self.vectors, readable(self.memory)]
        return "; ".join([*parts, *(f"{name} with {readable(size)}" for name, size in self.gpus)])


def look_everywhere() -> list[Machine]:
    """Return the nodes of the cluster that have something to compute with."""
    here = ray.get_runtime_context().get_node_id()
    there = ray.remote(num_cpus=0)(look)
    found = []
    for node in alive_nodes():
        kinds = ("CPU", "GPU", "object_store_memory")
        cpus, gpus, store = (int(node["Resources"].get(kind, 0)) for kind in kinds)
        at = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
        if node["NodeID"] == here:
            found.append(look(cpus, store))
        elif cpus or gpus:
            found.append(ray.get(there.options(scheduling_strategy=at).remote(cpus, store)))
    return found


def look(cpus: int, store: int, root: Path = Path("/")) -> Machine:
    """Return what this machine has.

    Args:
        cpus: as of `Machine`.
        store: as of `Machine`.
        root: where /sys is.
    """
    import torch

    own = hasattr(os, "sched_getaffinity")  # not on every system
    cores = len(os.sched_getaffinity(0)) if own else os.cpu_count()
    supported = torch.cpu  # its questions have no public names
    bf16 = bool(getattr(supported, "_is_avx512_bf16_supported", bool)())
    amx = bool(getattr(supported, "_is_amx_tile_supported", bool)())
    names = (torch.backends.cpu.get_cpu_capability(), "AVX-512 BF16" * bf16, "AMX" * amx)
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return Machine(
        cores=cores or 1,
        cpus=cpus,
        quota=_quota(root / "sys/fs/cgroup"),
        vectors=", ".join(filter(None, names)),
        bf16=bf16,
        memory=int(psutil.virtual_memory().total),
        swapped=int(psutil.swap_memory().used),
        shared=shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else 0,
        store=store,
        gpus=tuple((device.name, device.total_memory) for device in devices),
    )


def warnings(machine: Machine, in_flight: int) -> list[str]:
    """Return what makes a machine slow, a line each.

    Args:
        machine: the machine.
        in_flight: bytes of pixels on their way to its GPUs at any time.
    """
    store, shared, found = readable(machine.store), readable(machine.shared), []
    if machine.quota is not None and machine.quota < machine.cpus - 0.01:
        found.append(
            f"Ray gives out {machine.cpus} cores, and the container gets the time of "
            f"{machine.quota:.3g}: give --actors {max(1, int(machine.quota))}"
        )
    if not (machine.bf16 or machine.gpus):
        found.append(
            "the CPU has no bfloat16, so the network is computed in fp32, at half the speed or "
            "less of one that has"
        )
    if machine.swapped > machine.memory // 20:
        found.append(f"{readable(machine.swapped)} are swapped out")
    if machine.shared < machine.store:
        found.append(
            f"/dev/shm has {shared}, less than the object store ({store}), which is then kept on "
            "disk: give the container a larger one (--shm-size)"
        )
    if in_flight > machine.store:
        found.append(
            f"pixels on their way to the GPUs take {readable(in_flight)}, and the object store has "
            f"{store}: start Ray with a larger --object-store-memory"
        )
    return found


def busy(seconds: float = 0.5) -> float:
    """Return the share of this machine's time that other processes take now."""
    return float(psutil.cpu_percent(seconds)) / 100


def _quota(groups: Path) -> float | None:
    """Return the cores' worth of time of this container, by either version of control groups."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            allowed, period = " ".join((groups / file).read_text() for file in files).split()
            return None if allowed in ("max", "-1") else int(allowed) / int(period)
    return None
