"""When a fusion is computed in its folded form, and when that form must be made anew.

A folded copy is not a weight: it is never trained, saved, copied or pickled, and is made anew as
soon as a weight that it was made of is another or was written to. What torch does not count as a
write, one through ``weight.data`` or ``weight.numpy()``, is seen only after the next ``train()``,
``eval()``, ``to()`` or ``load_state_dict()`` of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from hubkit.nn.delta import Delta
from hubkit.nn.folded import Folded, width
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.methods import Reads

# float16 is not among them: a part of a score can be beyond its range where the score is not.
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Foldable(nn.Module):
    """A module that computes a fusion, and may keep a folded copy of it."""

    _kept: tuple[_Snapshot, Folded] | None = None

    def folded(self, deltas: Sequence[Delta], layer: FusionLayer, reads: Reads) -> Folded | None:
        """The fusion as its weights are now; None where it must be computed plainly.

        Args:
            deltas: All that the fusion mixes.
            layer: The fusion layer over them.
            reads: What the query reads.
        """
        if self.training or not _is_usual(self, deltas, layer):
            return None
        weights = list(_weights(deltas, layer))
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
            return None
        constants = [reads, *((one.reads, one.scaling, one.activation) for one in deltas)]
        kept = self._kept
        if kept is not None and kept[0].is_of(weights, constants):
            return kept[1]
        if not _is_foldable(deltas, layer, weights):
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


def _is_usual(node: nn.Module, deltas: Sequence[Delta], layer: FusionLayer) -> bool:
    """Whether nothing but the classes themselves says what is computed, and how."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(layer.query.weight.device.type):
        return False
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if not (all(type(one) is Delta for one in deltas) and type(layer) is FusionLayer):
        return False
    if not all(type(one) is nn.Linear for one in _projections(deltas, layer)):
        return False
    # The copy calls no module inside but the activations: who listens to one would hear nothing,
    # and what replaces one would be passed over.
    return not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        for module in _inside(node)
    )


def _is_foldable(deltas: Sequence[Delta], layer: FusionLayer, weights: Sequence[Tensor]) -> bool:
    """Whether a copy is cheaper, exact enough, and can be told when a weight is written to."""
    first = weights[0]
    return (
        # From there on, the fusion layer's own three products are the cheaper ones.
        sum(map(width, deltas)) < 3 * layer.query.out_features
        and first.dtype in _DTYPES
        and all(
            type(weight) in (Tensor, nn.Parameter)
            and not weight.is_inference()
            and weight.dtype == first.dtype
            and weight.device == first.device
            for weight in weights
        )
    )


def _inside(module: nn.Module) -> Iterator[nn.Module]:
    # Much faster than modules(), which makes names; this runs in every forward pass.
    for child in module._modules.values():
        if child is not None:
            yield child
            yield from _inside(child)


def _projections(deltas: Iterable[Delta], layer: FusionLayer) -> Iterator[nn.Linear]:
    for delta in deltas:
        yield delta.down
        yield delta.up
    yield layer.query
    yield layer.key
    if layer.value is not None:
        yield layer.value


def _weights(deltas: Iterable[Delta], layer: FusionLayer) -> Iterator[Tensor]:
    for projection in _projections(deltas, layer):
        yield projection.weight
        if projection.bias is not None:
            yield projection.bias
