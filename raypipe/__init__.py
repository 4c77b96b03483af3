"""Distributed transfer learning by feature extraction on Ray.

The functions here take the options of the command of the same name:

>>> import raypipe
>>> store = raypipe.extract("photos", out="features", backbone="resnet50")
>>> store.to_numpy().features.shape
(61, 2048)

Type checkers and editors read `__init__.pyi`, which is made by `python docs/_ext/signatures.py`.
"""

from importlib import import_module as _import_module

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

#: Where names are that are not functions of `raypipe.api.calls`. All are imported when they are
#: asked for: the command line is to answer to a Ctrl-C before anything else is imported.
_PLACES = {
    "ImageClassifier": "raypipe.api.image_classifier",
    "ImageClusters": "raypipe.api.image_clusters",
    "PredictionTable": "raypipe.api.prediction_table",
    "RaypipeError": "raypipe.errors",
    "Store": "raypipe.runtime.ray_dataset",
    "UsageError": "raypipe.errors",
    "__version__": "raypipe.config.version",
}


def __getattr__(name: str) -> object:
    if name not in __all__ and name not in _PLACES:
        raise AttributeError(f"module 'raypipe' has no attribute {name!r}")
    return getattr(_import_module(_PLACES.get(name, "raypipe.api.calls")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
