"""Distributed transfer learning by feature extraction on Ray.

The functions here take the options of the command of the same name:

>>> import raypipe
>>> store = raypipe.extract("photos", out="features", backbone="resnet50")
>>> store.to_numpy().features.shape
(61, 2048)

Type checkers and editors read `__init__.pyi`, which is made by `python docs/_ext/signatures.py`.
"""

from importlib import import_module as _import_module

from raypipe.api.calls import (
    cluster,
    compact,
    dedupe,
    doctor,
    export,
    extract,
    inspect,
    layers,
    load_model,
    open,
    pack,
    predict,
    repair,
    report,
    run,
    shutdown,
    similar,
    train,
    verify,
)
from raypipe.config.version import __version__ as __version__

__all__ = [
    "ImageClassifier",
    "ImageClusters",
    "PredictionTable",
    "RaypipeError",
    "Store",
    "UsageError",
    "cluster",
    "compact",
    "dedupe",
    "doctor",
    "export",
    "extract",
    "inspect",
    "layers",
    "load_model",
    "open",
    "pack",
    "predict",
    "repair",
    "report",
    "run",
    "shutdown",
    "similar",
    "train",
    "verify",
]

#: Classes by the module they are in; it is imported when one is asked for, which takes a second.
_CLASSES = {
    "ImageClassifier": "raypipe.api.image_classifier",
    "ImageClusters": "raypipe.api.image_clusters",
    "RaypipeError": "raypipe.errors",
    "Store": "raypipe.runtime.ray_dataset",
    "PredictionTable": "raypipe.api.prediction_table",
    "UsageError": "raypipe.errors",
}


def __getattr__(name: str) -> object:
    if name not in _CLASSES:
        raise AttributeError(f"module 'raypipe' has no attribute {name!r}")
    return getattr(_import_module(_CLASSES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
