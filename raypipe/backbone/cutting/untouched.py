"""Running a network as it is, and leaving it once every layer has been seen."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.outputs import EMBEDDING, LOGITS
from raypipe.errors import UsageError


class EarlyExit(nn.Module):
    """Maps (N, 3, H, W) to `{layer: output}` by a network that is not rewritten.

    Args:
        model: the network.
        layers: names of modules, `name_N` for their call number N from 0; `logits`; `embedding`.
        embedding: where the network has it.
        leaves: False runs the network to its end.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[str, ...],
        embedding: Embedding | None = None,
        *,
        leaves: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.embedding = embedding or Embedding()
        self.leaves = leaves
        self.seen: dict[str, Any] = {}
        self._calls: Counter[str] = Counter()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the network's own names, so that weights load as into the full network."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights by the network's own names."""
        return self.model.load_state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Return `{layer: output}` for (N, 3, H, W).

        Raises:
            UsageError: the network does not come by one of the layers.
        """
        self.seen, self._calls = {}, Counter()
        hooks = self._hooks()
        try:
            with _no_fast_path():
                self._run(x)
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        absent = [layer for layer in self.layers if layer not in self.seen]
        if absent:
            raise UsageError(f"--layer: the network never reaches {', '.join(absent)}")
        found, self.seen = self.seen, {}
        return {layer: found[layer] for layer in self.layers}

    def _hooks(self) -> list[Any]:
        """Watch the layers, for this run alone: the network may be used elsewhere."""
        modules, hooks = dict(self.model.named_modules()), list[Any]()
        for layer in self.layers:
            if layer == EMBEDDING and self.embedding.module:
                module = modules[self.embedding.module]
                hooks.append(module.register_forward_pre_hook(self._on_input, with_kwargs=True))
            elif (found := called_module(layer, modules)) is not None:
                hook = self._hook(layer, found[1])
                hooks.append(modules[found[0]].register_forward_hook(hook))
        return hooks

    def _run(self, x: Tensor) -> None:
        wants = EMBEDDING in self.layers
        if wants and self.embedding.call is not None:
            self._keep(EMBEDDING, self.embedding.call(self.model, x))
            self._calls.clear()  # the network begins anew
        result = self.model(x)
        if LOGITS in self.layers:
            self.seen.setdefault(LOGITS, result)
        if wants and not self.embedding.module:
            self.seen.setdefault(EMBEDDING, result)

    def _hook(self, layer: str, number: int) -> Any:
        def remember(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self._calls[layer] == number:
                self._keep(layer, output)
            self._calls[layer] += 1

        return remember

    def _on_input(self, _module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        if EMBEDDING not in self.seen:
            self._keep(EMBEDDING, [*inputs, *named.values()][0])

    def _keep(self, layer: str, output: Any) -> None:
        # What follows may work in place on it, if anything does.
        several = len(self.layers) > 1 or not self.leaves
        several &= isinstance(output, Tensor)
        self.seen[layer] = output.clone() if several else output
        if self.leaves and len(self.seen) == len(self.layers):
            raise _Reached


class _Reached(BaseException):
    """Leaves the forward pass; no `except Exception` in a network's code may catch it."""


def called_module(layer: str, modules: dict[str, nn.Module]) -> tuple[str, int] | None:
    """Return the module that a layer names, and which of its calls."""
    if not layer:
        return None
    if layer in modules:
        return layer, 0
    numbered = re.fullmatch(r"(.+)_([1-9]\d*)", layer)
    if numbered and numbered[1] in modules:
        return numbered[1], int(numbered[2])
    return None


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """Have `nn.TransformerEncoder` call its layers' own modules: in evaluation it does not."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
