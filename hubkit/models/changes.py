"""What of a model was changed, or made new, beside the adapter that was trained in it.

Frozen weights may still change: by an optimiser that was given them all, by ``weight.data``, or as
the statistics of a batch norm. So their bytes are compared, which no write escapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.bases.describe import describe
from hubkit.models.head import head_to_keep, made_outlet, outlet_tensors, whole_modules
from hubkit.nn.hooks import SUBMODULE
from registry.errors import AdapterError, listed
from registry.manifest import BaseModelInfo

_NOTED = "_hubkit_base_state"


@dataclass(frozen=True)
class BaseState:
    """The base model inside a model, as it was at one time.

    Attributes:
        info: What it is, as a manifest stores it.
        digests: Of each of its tensors, by name, but for those of a head that is trained.
        made: Those of its outlet that its files have no weights for.
    """

    info: BaseModelInfo
    digests: Mapping[str, str]
    made: frozenset[str]

    @classmethod
    def of(cls, model: PreTrainedModel) -> BaseState:
        """The state of ``model`` now."""
        made = made_outlet(model)
        return cls(describe(model, own=made), _digests(base_tensors(model)), made)

    def keep(self, model: PreTrainedModel) -> None:
        """Note it in what ``model`` carries, so that a copy of the model has it, too."""
        vars(getattr(model, SUBMODULE))[_NOTED] = self

    @classmethod
    def kept(cls, model: PreTrainedModel) -> BaseState | None:
        """What :meth:`keep` noted in ``model``; None if nothing."""
        found: BaseState | None = vars(getattr(model, SUBMODULE, None) or nn.Module()).get(_NOTED)
        return found


def trained_outlet(model: PreTrainedModel, before: BaseState | None, name: str) -> tuple[str, ...]:
    """The tensors of the backbone's outlet that were trained or made new: the head holds them.

    Args:
        model: A model in which an adapter was trained.
        before: As it was before that; None if that is not known.
        name: The name of the adapter, for messages.

    Raises:
        AdapterError: A tensor of the base model changed that the head cannot hold.
    """
    outlet, now = outlet_tensors(model), base_tensors(model)
    trainable = {path for path, tensor in now.items() if tensor.requires_grad}
    if before is None:
        changed = trainable
    else:
        digests, old = _digests(now), before.digests
        # A head that was frozen when the adapter was inserted may have been trained since.
        names = (digests.keys() | old) - head_to_keep(model).keys()
        changed = {name for name in names if digests.get(name) != old.get(name)}
    if lost := sorted(changed - outlet.keys()):
        kinds = {str(now[name].dtype) for name in lost if name in now}
        seen = "were trained along" if before is None else f"changed since {name} was inserted"
        raise AdapterError(
            f"{listed(lost)} of the base model {seen} (now {', '.join(sorted(kinds)) or 'gone'}), "
            f"and an adapter cannot hold them: without them, {name} would compute something else. "
            "Train only what insert_adapter leaves trainable, on the base model as it is.",
            tuple(lost),
        )
    made = made_outlet(model) if before is None else before.made
    # A bare model has no head that reads them.
    made = made if head_to_keep(model) else frozenset()
    return whole_modules(model, outlet, changed | trainable | made)


def base_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """All that a checkpoint of ``model`` holds but its adapters and the head that they need."""
    found: dict[str, Tensor] = model.state_dict(keep_vars=True)
    head = head_to_keep(model)
    return {
        name: tensor
        for name, tensor in found.items()
        if name not in head and f".{SUBMODULE}." not in f".{name}" and isinstance(tensor, Tensor)
    }


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
