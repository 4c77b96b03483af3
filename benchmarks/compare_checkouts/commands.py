"""Commands that both checkouts run, in the folder: what is written, and how it is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.compare_checkouts.material import ADDED

__all__ = ["Killed", "Plan", "make_plan", "shown"]

_NETWORK = (
    "--backbone ../network.py:network --weights random --size 32 --resize squash --normalize unit"
    " --precision fp32 --actors 1 --batch-size 16 --compile off --max-pixels 5000"
)
_CUT = f"{_NETWORK} --layer block2"
_RAY = "--engine ray --actors 2 --actor-memory"  # and with so little of it, rows go to a file
_SMALL, _LARGE = "1KiB", "64MiB"
_PREDICT = "predict model-logistic photos --out predictions --evaluate --actors 1"

#: How each store is made, and made anew.
_STORES = {
    "features": f"extract photos {_CUT}",
    "float16": f"extract photos {_CUT} --format hdf5 --dtype float16 --split hash",
    "layers": f"extract photos {_NETWORK} --layer first=block1 --layer map=block2:none"
    " --layer kind=logits:argmax --format hdf5",
    "augmented": f"extract photos {_CUT} --augment 2 --rotate 20 --shift 0.1 --zoom 0.1 --flip",
    "packed": f"extract shards {_CUT}",
}
#: Models by name: the store, and options.
_MODELS = {
    "logistic": "features --head logistic --grid C=0.1,1 --calibrate temperature",
    "svm": "features --head svm --grid C=0.1,1",
    "forest": "features --head forest --grid n_estimators=20 --calibrate isotonic",
    "knn": "features --head knn --grid n_neighbors=1,5",
    "mlp": "features --head mlp --hidden 16 --epochs 6 --workers 0",
    "shards": f"features --grid C=0.1,1 --calibrate sigmoid {_RAY} {_LARGE}",
    "files": f"features --grid C=0.1,1 {_RAY} {_SMALL}",
    "half": f"float16 --grid C=1 {_RAY} {_LARGE}",
}
_CLUSTERS = {
    "memory": "--k 3 --report",
    "range": "--k 2:5 --scale standard --n-init 2",
    "cosine": "--k 3 --distance cosine",
    "shards": f"--k 3 {_RAY} {_LARGE}",
    "files": f"--k 4 --init k-means|| {_RAY} {_SMALL}",
}
_LONG = "--tol 1e-12 --max-iter 3000"


@dataclass(frozen=True)
class Killed:
    """Something that is killed and gone on with.

    Attributes:
        command: without its --out.
        sign: files below --out, one of which shows that work has been kept; it is killed then.
        resume: what is added to go on.
    """

    command: str
    sign: str = "checkpoint/**/[!f.]*"  # not fit.json, which is there from the start
    resume: str = " --resume"


_KILLED = {
    "killed-extract": Killed(
        f"extract photos {_CUT.replace(':network', ':slow')}", "data/part-*", ""
    ),
    "killed-logistic": Killed(f"train features --grid C=0.1,1,10 {_LONG} {_RAY} {_LARGE}"),
    "killed-kmeans": Killed(f"cluster features --k 12 --n-init 16 --tol 0 {_RAY} {_LARGE}"),
    "killed-mlp": Killed(
        "train features --head mlp --hidden 64 --grid dropout=0.1,0.5 --epochs 60 --patience 0"
        " --workers 0"
    ),
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        first: what writes everything.
        killed: what is killed, by its --out.
        again: commands on the same source, and how many images they have to decode.
        after: the same after photographs were added; None where nothing is decoded.
        stores: places that the Python API opens.
    """

    first: list[str]
    killed: dict[str, Killed]
    again: dict[str, int]
    after: dict[str, int | None]
    stores: list[str]


def shown(command: str) -> str:
    """Return a command without what all extractions have in common."""
    return command.replace(_CUT, "…").replace(_NETWORK, "…")


def make_plan(*, quick: bool) -> Plan:
    """Return everything, or one of each kind and nothing on shards."""
    count = 1 if quick else None
    stores = dict(list(_STORES.items())[:count])
    models = dict(list(_MODELS.items())[:count])
    clusters = dict(list(_CLUSTERS.items())[:count])
    fits = [
        *(f"train {options} --out model-{name} --report" for name, options in models.items()),
        *(f"cluster features --out clusters-{n} {options}" for n, options in clusters.items()),
        *(f"predict model-{n} {o.split()[0]} --out {n}.csv --top-k 3" for n, o in models.items()),
    ]
    every = [*stores] if quick else [*stores, "old"]
    made = {f"{command} --out {name}": name for name, command in stores.items()}
    again: dict[str, int] = {**dict.fromkeys(made, 0), _PREDICT: 0}
    after: dict[str, int | None] = {
        **{command: ADDED for command, name in made.items() if name != "packed"},
        _PREDICT: ADDED,
        "compact features": None,
        "expire features --keep 1 --grace 0": None,
        **{f"inspect {name}": None for name in every},
        **dict.fromkeys(fits),
        "dedupe features --out same.csv": None,
    }
    if not quick:
        both = f"extract photos {_CUT} --glob circle/* --glob square/* --out old"
        again[both], after[f"extract photos {_CUT} --out old"] = 0, None
    first = ["pack photos --out shards --shards 2", *made]
    first += [] if quick else _old_store()
    first += [f"inspect {name}" for name in every]
    first += [*_looks(quick), *fits, _PREDICT, *([] if quick else _rest())]
    return Plan(first, {} if quick else _KILLED, again, after, [*every, "predictions"])


def _old_store() -> Iterator[str]:
    """A store of two runs that is pinned, compacted and expired."""
    yield from (f"extract photos {_CUT} --glob {kind}/* --out old" for kind in ("circle", "square"))
    yield "pin old model-1 --snapshot 1"
    yield "compact old --target-mb 1"
    yield from ["expire old --keep 1 --grace 0"] * 2


def _looks(quick: bool) -> Iterator[str]:
    yield "layers ../network.py:network --size 32"
    yield "similar features circle/0000.png --k 5"
    yield "dedupe features --out same.csv"
    yield from (f"export features --to {to} --out exported.{to}" for to in ("hdf5", "npy", "csv"))
    if not quick:
        yield "export layers --layer map --to hdf5 --order shuffle --split hash --out parts.hdf5"


def _rest() -> Iterator[str]:
    yield "predict model-mlp photos --out predictions.parquet --threshold 0.5 --actors 1"
    yield "run recipe.yaml --out recipe"
    yield "report features --out features.html"
