"""One frozen model per job: the single definition behind Python, CLI, YAML and environment.

Each field's docstring is its help text; `json_schema_extra` holds the heading it is listed under
and whether it may be given by position. `options.resolve` merges the places a value can come from.
"""

from __future__ import annotations

from raypipe.config.augmentation import AugmentConfig
from raypipe.config.extraction import DoctorConfig, ExtractConfig, PackConfig, PredictConfig
from raypipe.config.fits import ClusterConfig, TrainConfig
from raypipe.config.others import DemoConfig, LayersConfig, RunConfig, SubmitConfig
from raypipe.config.shared import (
    BackboneConfig,
    EngineConfig,
    IngestConfig,
    JobConfig,
    LabelConfig,
    PerceptronConfig,
    RayConfig,
    SourceConfig,
)
from raypipe.config.stores import (
    CompactConfig,
    DedupeConfig,
    ExpireConfig,
    ExportConfig,
    InspectConfig,
    PinConfig,
    RepairConfig,
    ReportConfig,
    SimilarConfig,
    VerifyConfig,
)

__all__ = [
    "JOBS",
    "JOB_HEADINGS",
    "AugmentConfig",
    "BackboneConfig",
    "ClusterConfig",
    "CompactConfig",
    "DedupeConfig",
    "DemoConfig",
    "DoctorConfig",
    "EngineConfig",
    "ExpireConfig",
    "ExportConfig",
    "ExtractConfig",
    "IngestConfig",
    "InspectConfig",
    "JobConfig",
    "LabelConfig",
    "LayersConfig",
    "PackConfig",
    "PerceptronConfig",
    "PinConfig",
    "PredictConfig",
    "RayConfig",
    "RepairConfig",
    "ReportConfig",
    "RunConfig",
    "SimilarConfig",
    "SourceConfig",
    "SubmitConfig",
    "TrainConfig",
    "VerifyConfig",
]

#: The jobs by the names they have on the command line.
JOBS: dict[str, type[JobConfig]] = {
    "extract": ExtractConfig,
    "train": TrainConfig,
    "cluster": ClusterConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "run": RunConfig,
    "submit": SubmitConfig,
    "report": ReportConfig,
    "inspect": InspectConfig,
    "similar": SimilarConfig,
    "dedupe": DedupeConfig,
    "layers": LayersConfig,
    "pack": PackConfig,
    "compact": CompactConfig,
    "expire": ExpireConfig,
    "pin": PinConfig,
    "verify": VerifyConfig,
    "repair": RepairConfig,
    "demo": DemoConfig,
    "doctor": DoctorConfig,
}

#: The jobs by heading, in the order of the command line's help and of the reference.
JOB_HEADINGS: dict[str, tuple[str, ...]] = {
    "Features": ("extract", "doctor", "pack"),
    "Models": ("train", "cluster", "predict"),
    "Results": ("report", "inspect", "similar", "dedupe", "layers"),
    "Stores": ("export", "compact", "expire", "pin", "verify", "repair"),
    "All at once": ("run", "submit", "demo"),
}
