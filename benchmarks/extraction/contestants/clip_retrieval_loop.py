"""clip-retrieval's inference loop, with the job's network in CLIP's place.

https://github.com/rom1504/clip-retrieval: its runner, reader of files, mapper and writer, put
together as its own worker does; the mapper's network is replaced, and its log is the trace. Run by
an interpreter that has it (`tool.py`).
"""

from __future__ import annotations

from typing import Any

from clip_retrieval.clip_inference.mapper import ClipMapper  # type: ignore[import-not-found]
from clip_retrieval.clip_inference.reader import FilesReader  # type: ignore[import-not-found]
from clip_retrieval.clip_inference.runner import Runner  # type: ignore[import-not-found]
from clip_retrieval.clip_inference.writer import NumpyWriter  # type: ignore[import-not-found]
from torchvision import transforms

from benchmarks.extraction.recipe import Job, load_network, read_job
from benchmarks.extraction.trace import Recorder

_ONLY_IMAGES = {"enable_text": False, "enable_image": True, "enable_metadata": False}


class FeatureMapper(ClipMapper):  # type: ignore[misc]
    """Without its constructor, which loads CLIP."""

    def __init__(self, job: Job) -> None:
        self.__dict__.update(_ONLY_IMAGES)
        self.device = "cpu"
        self.use_mclip = False
        self.model_img = load_network(job)


class Log(Recorder):
    def start(self) -> None: ...

    def end(self) -> None: ...

    def __call__(self, stats: Any) -> None:
        super().__call__(stats["sample_count"])


def main() -> None:
    job, _ = read_job()
    preprocess = transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB")),
            transforms.Resize((job.size, job.size)),
            transforms.ToTensor(),
            transforms.Normalize(job.mean, job.std),
        ]
    )
    runner = Runner(
        reader_builder=lambda sampler: FilesReader(
            sampler, preprocess, None, job.images, 32, job.cores, **_ONLY_IMAGES
        ),
        mapper_builder=lambda: FeatureMapper(job),
        writer_builder=lambda part: NumpyWriter(
            partition_id=part, output_folder=job.out, output_partition_count=1, **_ONLY_IMAGES
        ),
        logger_builder=lambda _: Log(job.trace),
        output_partition_count=1,
    )
    runner(0)


if __name__ == "__main__":
    main()
