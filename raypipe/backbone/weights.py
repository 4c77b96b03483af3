"""Weights: published, seeded or from a file; verified before they are used."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms._presets import ImageClassification

from raypipe.backbone.registry import BackboneSource, _timm, build
from raypipe.errors import RaypipeError, UsageError, nearest
from raypipe.spec import Preprocess, digest
from raypipe.storage import user_path

_FILE_TYPES = (".safetensors", ".pth", ".pt")
_CONNECT_SECONDS = 15.0


class WeightsUnavailableError(RaypipeError):
    """Published weights that cannot be downloaded from here."""


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors by name, their checksum, and the preprocessing they were trained with if known."""

    state: dict[str, Tensor]
    sha256: str
    trained: Preprocess | None


def load_weights(
    source: BackboneSource, weights: str, *, weights_sha256: str | None = None, seed: int = 0
) -> LoadedWeights:
    """Load the weights that an option names.

    Args:
        source: the network they are for.
        weights: `random`, the path of a file, `DEFAULT`, or another published set's name.
        weights_sha256: the checksum a file must have.
        seed: seed of `random`.

    Raises:
        UsageError: no such weights, wrong checksum, or a file that holds no tensors.
        WeightsUnavailableError: published weights that cannot be downloaded.
    """
    is_file = weights.endswith(_FILE_TYPES)
    if weights_sha256 and not is_file:
        raise UsageError(
            f"--weights-sha256 goes with a weights file ({', '.join(_FILE_TYPES)}); "
            f"got --weights {weights}"
        )
    if is_file:
        state, checksum = _from_file(weights, weights_sha256)
        return LoadedWeights(state, checksum, _usual_preprocess(source))
    if weights == "random":
        state = _random(source, seed)
        return LoadedWeights(state, _content_digest(state), _usual_preprocess(source))
    state, trained = _published(source, weights)
    return LoadedWeights(state, _content_digest(state), trained)


def fit_state(model: nn.Module, state: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Return the tensors that the truncated network uses.

    What lies behind the cut may be absent or of another shape: it is not computed.

    Args:
        model: the network, cut; its own tensors say which shapes are needed, scalars among them.
        state: tensors by name, of any shapes.
        weights: what they are called in messages.

    Raises:
        UsageError: naming the keys that are missing or of another shape.
    """
    # Batch norm's step counters are not used in evaluation, and converted weights often lack them.
    needed = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    missing = [name for name in needed if name not in state]
    if missing:
        spare = [name for name in state if name not in needed]
        raise UsageError(
            f"--weights: {weights} lacks {len(missing)} of {len(needed)} tensors: "
            f"{_some(missing)}; it has {_some(spare) if spare else 'no others'}"
        )
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(needed[name].shape)}"
        for name in needed
        if state[name].shape != needed[name].shape
    ]
    if wrong:
        raise UsageError(f"--weights: {weights} does not fit: {_some(wrong)}")
    return {name: state[name].detach() for name in needed}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _from_file(weights: str, expected: str | None) -> tuple[dict[str, Tensor], str]:
    path = user_path(weights, "--weights")
    if not path.is_file():
        raise UsageError(f"--weights: no file at {str(path.absolute())!r}")
    data = path.read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    if expected and checksum != expected.lower():
        raise UsageError(f"--weights-sha256: {path} has checksum {checksum}, expected {expected}")
    try:
        state = _parse(path, data)
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        raise UsageError(f"--weights: cannot read {path}: {detail}") from None
    if not state:
        raise UsageError(f"--weights: {path} holds no tensors by name (a state_dict)")
    return state, checksum


def _parse(path: Path, data: bytes) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return dict(load(data))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            "it is no checkpoint, or it holds pickled code, which is never executed; "
            "save model.state_dict() alone"
        ) from None
    return _unwrap(content)


def _unwrap(content: Any) -> dict[str, Tensor]:
    """Find the state_dict in what training scripts save around it."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        return {}
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if state and all(name.startswith("module.") for name in state):  # saved by DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _random(source: BackboneSource, seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(source).state_dict()


def _content_digest(state: Mapping[str, Tensor]) -> str:
    parts: list[str | bytes] = []
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        parts += [name, str(value.dtype), str(tuple(value.shape))]
        parts.append(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest(*parts)


def _published(source: BackboneSource, weights: str) -> tuple[dict[str, Tensor], Preprocess | None]:
    if source.kind == "torchvision":
        chosen = _torchvision_weights(source, weights)
        with _download(f"{source.name} {weights}"):
            state = chosen.get_state_dict(progress=False, check_hash=True)
        return dict(state), _from_preset(chosen.transforms())
    if source.kind == "timm":
        if weights != "DEFAULT":
            raise UsageError(
                "--weights: for timm give DEFAULT, random or a file; "
                f"another set is part of the name (timm/{source.target}.TAG); got {weights!r}"
            )
        with _download(source.name):
            model = _timm().create_model(source.target, pretrained=True)
        return model.state_dict(), _from_timm(source)
    raise UsageError(
        f"--weights: {source.name} has no published weights; give a file "
        f"({', '.join(_FILE_TYPES)}) or random; got {weights!r}"
    )


def _torchvision_weights(source: BackboneSource, weights: str) -> Any:
    known = torchvision.models.get_model_weights(source.target)
    name = weights.rsplit(".", 1)[-1]  # ResNet50_Weights.IMAGENET1K_V2 or IMAGENET1K_V2
    if name == "DEFAULT":
        return known.DEFAULT
    if name not in known.__members__:
        names = [*known.__members__, "random"]
        raise UsageError(
            f"--weights: {source.name} has {', '.join(names)}, or give a file "
            f"({', '.join(_FILE_TYPES)}); got {weights!r}{nearest(name, names)}"
        )
    return known[name]


@contextlib.contextmanager
def _download(what: str) -> Iterator[None]:
    """Turn every way a download can fail into one error, and do not wait for ever for a server."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)
    try:
        yield
    except Exception as error:
        detail = " ".join(str(error).split())[:160]
        raise WeightsUnavailableError(
            f"--weights: cannot download the published weights of {what} ({detail}); "
            "pass --weights FILE (.safetensors or .pth), or --weights random"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _usual_preprocess(source: BackboneSource) -> Preprocess | None:
    """Preprocessing of the architecture's published weights: the best guess for other ones."""
    if source.kind == "torchvision":
        return _from_preset(
            torchvision.models.get_model_weights(source.target).DEFAULT.transforms()
        )
    if source.kind == "timm":
        return _from_timm(source)
    return None


def _from_preset(preset: ImageClassification) -> Preprocess:
    (size,), (resize_to,) = preset.crop_size, preset.resize_size
    return Preprocess(
        resize="shorter",
        resize_to=resize_to,
        size=size,
        interpolation=preset.interpolation.value,
        antialias=True,
        mean=_times_255(preset.mean),
        std=_times_255(preset.std),
    )


def _from_timm(source: BackboneSource) -> Preprocess:
    timm = _timm()
    config = timm.data.resolve_data_config(
        pretrained_cfg=timm.get_pretrained_cfg(source.target).to_dict()
    )
    height, size = config["input_size"][-2:]
    if height != size or config["crop_mode"] == "border":
        raise UsageError(
            f"--backbone: {source.name} was trained on {size}×{height} images with crop mode "
            f"{config['crop_mode']}; only square ones without border are supported"
        )
    squash = config["crop_mode"] == "squash"
    return Preprocess(
        resize="squash" if squash else "shorter",
        resize_to=None if squash else int(size / config["crop_pct"]),
        size=size,
        interpolation=config["interpolation"],
        antialias=True,
        mean=_times_255(config["mean"]),
        std=_times_255(config["std"]),
    )


def _times_255(values: Any) -> tuple[float, float, float]:
    red, green, blue = (255 * float(value) for value in values)
    return red, green, blue
