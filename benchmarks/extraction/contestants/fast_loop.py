"""The best DataLoader loop one can write for a CPU.

bfloat16 weights with batch norm folded, in channels-last; JPEGs decoded by libjpeg-turbo and scaled
as uint8 in the workers, which pass on uint8; normalised in one go in front of the network; the
allocator told to keep memory. Batch size, workers and threads are options, so that they can be
tuned; with --processes the images are shared between several such loops, and with --compile the
network is compiled.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable
from pathlib import Path

import torch
import torch._inductor.config
from torch import Tensor
from torch.fx.experimental.optimization import fuse
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from benchmarks.extraction.images import jpegs
from benchmarks.extraction.recipe import Features, Job, load_network, read_job, save
from benchmarks.extraction.trace import Recorder

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class Jpegs(Dataset[Tensor]):
    """Scaled (3, size, size) uint8 images."""

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths, self.size = paths, (size, size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = decode_jpeg(read_file(self.paths[index]), ImageReadMode.RGB)
        return interpolate(image[None], self.size, mode="bilinear", antialias=True)[0]


def fast_network(job: Job) -> Features:
    model = load_network(job)
    model.body = fuse(model.body, inplace=True)  # batch norm into convolutions, still float32
    return model.to(torch.bfloat16).to(memory_format=torch.channels_last)


def compiled(model: Features, batch: int) -> Callable[[Tensor], Tensor]:
    """Compile for batches of one size, with the weights as constants; a short one is padded."""
    torch._inductor.config.freezing = True
    run = torch.compile(model, dynamic=False)

    def padded(images: Tensor) -> Tensor:
        short = batch - len(images)
        whole = torch.cat([images, images.new_zeros(short, *images.shape[1:])]) if short else images
        found: Tensor = run(whole.contiguous(memory_format=torch.channels_last))
        return found[: len(images)]

    return padded


def keep_memory() -> None:
    """Have glibc keep large blocks, or each batch gets its memory anew, page by page."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def loop(part: int, job: Job, own: argparse.Namespace) -> None:
    keep_memory()
    torch.set_num_threads(own.threads)
    paths = [str(path) for path in jpegs(Path(job.images))[part :: own.processes]]
    loader = DataLoader(Jpegs(paths, job.size), batch_size=own.batch, num_workers=own.workers)
    model = fast_network(job)
    run = compiled(model, own.batch) if own.compile else model
    mean = 255 * torch.tensor(job.mean).view(1, 3, 1, 1)
    std = 255 * torch.tensor(job.std).view(1, 3, 1, 1)
    done = Recorder(job.trace, worker=str(part))
    features: list[Tensor] = []
    with torch.inference_mode():
        for images in loader:
            pixels = images.to(torch.float32, memory_format=torch.channels_last)
            features.append(run(pixels.sub_(mean).div_(std).to(torch.bfloat16)).float())
            done(len(images))
    save(job, paths, features, part)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("batch", 32), ("workers", 2), ("threads", 2), ("processes", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--compile", action="store_true")
    job, own = read_job(parser)
    if own.processes == 1:
        loop(0, job, own)
    else:
        spawn(loop, (job, own), nprocs=own.processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
