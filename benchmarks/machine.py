"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from raypipe.config.version import __version__

__all__ = ["cores", "describe"]

_FLAGS = {
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_bf16": "AMX BF16",
}
_PACKAGES = ("torch", "torchvision", "ray", "pillow", "numpy", "pyarrow")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str]:
    """Return what is worth knowing about this machine, by name."""
    model, flags = _processor()
    found = [name for flag, name in _FLAGS.items() if flag in flags]
    machine = {
        "processor": f"{model}, {cores()} cores",
        "vector units": ", ".join(found) or "no AVX-512, no AMX",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {found}" for name, found in _versions()),
    }
    gpu = _gpu()
    return machine | ({"GPU": gpu} if gpu else {})


def _processor() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in lines.items()}
    return found.get("model name", platform.machine()), set(found.get("flags", "").split())


def _versions() -> Iterator[tuple[str, str]]:
    yield "raypipe", __version__
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "none"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
