"""LoRA in the weights of the base model: nothing is computed beside it, and it can be taken out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.mix import LearnedMix, collapse
from hubkit.composition import Mix
from hubkit.methods.sites import LinearSite
from hubkit.models.fit import Fitting
from hubkit.nn.delta import Delta
from hubkit.nn.hooks import require_bare
from hubkit.nn.host import backbone, linear_at
from registry.arguments import checked
from registry.errors import AdapterError, CompositionError

_Change = tuple[nn.Module, str, Tensor]

_merged: WeakSet[PreTrainedModel] = WeakSet()
"""The backbones that have something merged into them."""


class Merged(AbstractContextManager["Merged"]):
    """An adapter in the weights of a model: a context manager, or until :meth:`unmerge`.

    Attributes:
        model: The model; its state_dict has the same keys as before, and the merged weights.
        adapter: What has been merged.
    """

    def __init__(
        self, model: PreTrainedModel, adapter: Adapter, changes: Sequence[_Change]
    ) -> None:
        self.model = model
        self.adapter = adapter
        self._swaps: list[tuple[nn.Module, str, nn.Parameter, nn.Parameter, int]] = []
        for module, name, value in changes:
            old: nn.Parameter = getattr(module, name)
            new = nn.Parameter(value, requires_grad=old.requires_grad)
            setattr(module, name, new)
            self._swaps.append((module, name, old, new, new._version))
        _merged.add(backbone(model))

    def unmerge(self) -> None:
        """Put the weights back that were there, to the bit. A second call does nothing.

        Raises:
            CompositionError: The model's weights were changed since; it is left as it is.
        """
        for module, name, old, new, version in self._swaps:
            now = getattr(module, name)
            if now is not new or now._version != version or now.dtype != old.dtype:
                raise CompositionError(
                    f"The weights of this {type(self.model).__name__} were changed since "
                    f"{self.adapter} was merged, so those from before would not belong to them. "
                    "Load the base model again."
                )
        for module, name, old, _, _ in self._swaps:
            setattr(module, name, old)
        self._swaps.clear()
        _merged.discard(backbone(self.model))

    def __exit__(self, *_: object) -> None:
        self.unmerge()


@checked
def merge(model: PreTrainedModel, adapter: Adapter | Mix | LearnedMix) -> Merged:
    """Add LoRA, or a mix of LoRA, to the weights of ``model``.

    The model then runs at the speed of the bare one, and ``save_pretrained`` writes a model that
    needs no adapter. ``with merge(model, adapter): ...`` takes it out again; the old weights are
    kept meanwhile, so this is exact.

    Args:
        model: The base model, with or without a head, and without adapters attached.
        adapter: A LoRA adapter, or a mix of some.

    Raises:
        AdapterError: The adapter is not at linear layers, or a layer lacks the weights to add to.
        BaseModelMismatchError: The adapter belongs to another base model.
        CompositionError: The model carries adapters or has one merged into it, or the mix does not
            collapse into one.
    """
    require_bare(model)
    if backbone(model) in _merged:
        raise CompositionError(
            f"This {type(model).__name__} has an adapter merged into it: unmerge that first, or "
            "merge both at once, as a hubkit.Mix with weights of one."
        )
    if not isinstance(adapter, Adapter):
        adapter = collapse(adapter)
    if not all(isinstance(site, LinearSite) for site in adapter.deltas) or adapter.coupling:
        raise AdapterError(
            f"{adapter} is of the method {adapter.method.type}: only LoRA is linear in what it "
            "reads, so only LoRA can be merged into weights."
        )
    fitting = Fitting(model)
    fitting.check(adapter)
    fitting.check_parts(adapter)
    changes: list[_Change] = []
    with torch.no_grad():
        for site, delta in adapter.deltas.items():
            assert isinstance(site, LinearSite)
            changes += _sums(linear_at(model, site), delta, f"{adapter} at {site}")
    return Merged(model, adapter, changes)


def _sums(module: Any, delta: Delta, where: str) -> list[_Change]:
    """The weights of a linear layer with those of a delta added, in float32 or wider."""
    weight: Tensor = module.weight
    wide = torch.promote_types(weight.dtype, torch.float32)

    def placed(tensor: Tensor) -> Tensor:
        return tensor.to(device=weight.device, dtype=wide)

    scale = delta.scale if isinstance(delta.scale, float) else placed(delta.scale).reshape(-1, 1)
    update = scale * (placed(delta.up) @ placed(delta.down))
    # GPT-2 stores its weights transposed.
    update = update.T if isinstance(module, Conv1D) else update
    sums = [(module, "weight", (weight.to(wide) + update).to(weight.dtype))]
    if delta.up_bias is not None:
        if module.bias is None:
            raise AdapterError(f"{where} has a bias, but the linear layer has none to add it to.")
        shift = delta.scale * placed(delta.up_bias)
        sums.append((module, "bias", (module.bias.to(wide) + shift).to(module.bias.dtype)))
    return sums
