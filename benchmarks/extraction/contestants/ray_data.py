"""Ray Data's documented recipe for inference on images: read_images → actors → Parquet.

https://docs.ray.io/en/latest/data/working-with-images.html, with the network of the job and batches
of 32. How many actors there are and what each one reserves are options: a pool of one actor per
core, each reserving a core, waits for ever, because none is left to read the images.
(`compute=ActorPoolStrategy(…)` is what used to be written as `concurrency=…`.)
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import ray
import torch

from benchmarks.extraction.recipe import Job, load_network, read_job
from benchmarks.extraction.trace import Recorder


class ImageFeatures:
    def __init__(self, job: Job) -> None:
        self.model = load_network(job)
        self.mean = torch.tensor(job.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(job.std).view(1, 3, 1, 1)
        self.done = Recorder(job.trace, worker=str(os.getpid()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2)
        inputs = (images.float() / 255 - self.mean) / self.std
        with torch.inference_mode():
            features = self.model(inputs).numpy()
        self.done(len(features))
        return {"path": batch["path"], "features": features}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--least", type=int, required=True, help="actors to begin with")
    parser.add_argument("--most", type=int, required=True, help="actors it may grow to")
    parser.add_argument("--cpus", type=float, default=1.0, help="cores an actor reserves")
    job, own = read_job(parser)
    ray.init(address="local")  # never join another cluster that may run on this machine
    ds = ray.data.read_images(job.images, size=(job.size, job.size), mode="RGB", include_paths=True)
    features = ds.map_batches(
        ImageFeatures,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(min_size=own.least, max_size=own.most),
        num_cpus=own.cpus,
        batch_size=32,
    )
    features.write_parquet(job.out)


if __name__ == "__main__":
    main()
