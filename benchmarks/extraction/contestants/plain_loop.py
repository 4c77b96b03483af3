"""The loop that tutorials write: ImageFolder, torchvision's transforms, a DataLoader, float32."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.extraction.recipe import load_network, read_job, save
from benchmarks.extraction.trace import Recorder


def main() -> None:
    job, _ = read_job()
    transform = transforms.Compose(
        [
            transforms.Resize((job.size, job.size)),
            transforms.ToTensor(),
            transforms.Normalize(job.mean, job.std),
        ]
    )
    data = datasets.ImageFolder(job.images, transform)
    loader = DataLoader(data, batch_size=32, num_workers=job.cores)
    model = load_network(job)
    done = Recorder(job.trace)
    features = []
    with torch.inference_mode():
        for images, _ in loader:
            features.append(model(images))
            done(len(images))
    save(job, [path for path, _ in data.imgs], features)


if __name__ == "__main__":
    main()
