"""When a fusion is computed in its folded form, and when that form must be made anew.

A folded copy is not a weight: it is never trained, saved, copied or pickled. It is made anew as
soon as one of its weights is replaced or written to. Torch does not count a write through
``weight.data``, ``weight.numpy()`` or DLPack. Such a write is seen only after the next ``train()``,
``eval()``, ``to()`` or ``load_state_dict()`` of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from hubkit.methods.method import Reads
from hubkit.nn.delta import Delta
from hubkit.nn.folded import Folded
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.joined import can_join
from hubkit.nn.plain import is_plain

# float16 is not among them: a part of a score can be beyond its range where the score is not.
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Foldable(nn.Module):
    """A module that computes a fusion, and may keep a folded copy of it."""

    _kept: tuple[_Snapshot, Folded] | None = None
    _held = False

    def joins(self, branches: Sequence[nn.Module], layer: FusionLayer) -> bool:
        """Whether the fusion may be computed from the weights, without a call of its modules.

        That needs three things: all parts are plain deltas; they are narrow enough for this to be
        cheaper; and no hook or subclass changes or observes what is computed.
        """
        if type(layer) is not FusionLayer or not can_join(branches):
            return False
        if not all(type(one) is nn.Linear for one in _projections(layer)):
            return False
        if not _are_narrow(branches, layer):
            return False
        weight = layer.query.weight
        device = weight.device.type
        computed = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )
        return computed in _DTYPES and all(map(is_plain, (layer, *_projections(layer))))

    def folded(self, deltas: Sequence[Delta], layer: FusionLayer, reads: Reads) -> Folded | None:
        """The fusion as its weights are now; None where it is not to be folded.

        Args:
            deltas: All that the fusion mixes; it :meth:`joins` them.
            layer: The fusion layer over them.
            reads: The input of the query.
        """
        if self._held and self._kept is not None:
            return self._kept[1]
        if self.training or torch.compiler.is_compiling():
            return None
        if torch.is_autocast_enabled(layer.query.weight.device.type):
            return None
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return None
        weights = list(_weights(deltas, layer))
        if any(weight.requires_grad for weight in weights):
            # What an optimiser writes in a fused step, torch does not count.
            self._kept = None
            return None
        constants = [reads, layer.temperature, *map(_constants, deltas)]
        kept = self._kept
        if kept is not None and kept[0].is_of(weights, constants):
            return kept[1]
        if not _are_alike(weights):
            return None
        # Tensors made in inference mode would be of no use outside of it.
        with torch.inference_mode(False):
            kept = _Snapshot(weights, constants), Folded(deltas, layer, reads)
        self._kept = kept
        return kept[1]

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and let go of the folded copy."""
        self._kept = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        # A copy on the device that the module leaves would hold memory there.
        self._kept = None
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._kept = None
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


@contextmanager
def folds_held(model: nn.Module) -> Iterator[None]:
    """Keep the folded copies that the last pass has used, while a model is traced.

    A trace sees stand-ins for the weights, so no copy could be compared with them. No weight may
    change inside the block.
    """
    foldable = [module for module in model.modules() if isinstance(module, Foldable)]
    for module in foldable:
        module._held = True
    try:
        yield
    finally:
        for module in foldable:
            del module._held


class _Snapshot:
    """Which weights there were, and in which state.

    It holds the tensors and their memory, so that neither can be freed and come back as another's.
    """

    def __init__(self, weights: Iterable[Tensor], constants: list[Any]) -> None:
        self._weights = [(weight, weight.detach(), weight._version) for weight in weights]
        self._constants = constants

    def is_of(self, weights: Sequence[Tensor], constants: list[Any]) -> bool:
        """Whether they are the same objects, in the same memory, not written to since."""
        return (
            len(weights) == len(self._weights)
            and constants == self._constants
            and all(
                now is then and now._version == version and now.is_set_to(memory)
                for now, (then, memory, version) in zip(weights, self._weights, strict=True)
            )
        )


def _are_alike(weights: Sequence[Tensor]) -> bool:
    """Whether a copy would be exact, and a write to one of ``weights`` can be noticed."""
    first = weights[0]
    return all(
        type(weight) in (Tensor, nn.Parameter)
        and not weight.is_inference()
        and weight.dtype == first.dtype
        and weight.device == first.device
        for weight in weights
    )


def _are_narrow(deltas: Sequence[Any], layer: FusionLayer) -> bool:
    """Whether a folded token costs fewer multiplications; for a square query, ``R < 3 d``."""
    size, query_size = layer.query.weight.shape
    rank: int = sum(delta.down.shape[0] for delta in deltas)
    return bool(rank * query_size < size * (query_size + 2 * size))


def _constants(delta: Delta) -> tuple[Any, ...]:
    scale = None if isinstance(delta.scale, Tensor) else delta.scale
    return delta.form.reads, scale, delta.activation


def _projections(layer: FusionLayer) -> Iterator[nn.Module]:
    yield layer.query
    yield layer.key
    if layer.value is not None:
        yield layer.value


def _weights(deltas: Iterable[Delta], layer: FusionLayer) -> Iterator[Tensor]:
    for module in (*deltas, *_projections(layer)):
        for weight in module._parameters.values():
            if weight is not None:
                yield weight
