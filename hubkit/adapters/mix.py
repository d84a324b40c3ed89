"""Learned mixes as values, and a mix as one adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hubkit.adapters.adapter import Adapter, frozen
from hubkit.adapters.tree import Trained, Tree
from hubkit.composition import Mix
from hubkit.methods.bottleneck import ROWS, Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import DeltaShape, Method
from hubkit.methods.sites import BlockSite, Site
from hubkit.nn.delta import Delta
from hubkit.nn.joined import JoinedDeltas
from hubkit.nn.nodes import MixWeights
from registry.errors import CompositionError


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedMix(Trained):
    """A mix whose weights are learned, one for each part and site (Frohmann et al. 2024).

    Attributes:
        name: What it is called in messages.
        parts: What it mixes, in order.
        weights: Its weights at each site, for the parts that have a delta there.
    """

    weights: Mapping[Site, MixWeights]

    @property
    def own_weights(self) -> Mapping[Site, MixWeights]:
        """Its weights at each site."""
        return self.weights

    @classmethod
    def create(cls, mix: Mix, name: str = "mix") -> LearnedMix:
        """Equal weights, to be trained.

        Raises:
            BaseModelMismatchError: The parts belong to different base models.
            CompositionError: A part is only the name of an adapter.
        """
        tree = Tree.of(mix)
        tree.check_one_base()
        return cls(
            name=name,
            parts=tuple(part.value for part in tree.parts),
            weights={site: MixWeights(len(tree.at(site))) for site in tree.sites},
        )


def collapse(mix: Mix | LearnedMix, name: str = "mix") -> Adapter:
    """One adapter that adds what ``mix`` adds, as wide as all of its adapters together.

    It is an ordinary adapter, to be attached, saved and published.

    Args:
        mix: Of adapters, with fixed or learned weights.
        name: What to call the adapter.

    Raises:
        CompositionError: The parts are no adapters, or add up to none: bottlenecks of different
            types or activations, LoRA beside a bottleneck, or invertible adapters.
        BaseModelMismatchError: The parts belong to different base models.
    """
    if not isinstance(mix, Mix | LearnedMix):
        raise CompositionError(f"Only a mix collapses, not a {type(mix).__name__}.")
    tree = Tree.of(mix)
    tree.check_one_base()
    parts = [part for part in mix.parts if isinstance(part, Adapter)]
    if len(parts) < len(mix.parts):
        raise CompositionError(
            f"Only a mix of adapters collapses into one; {mix} holds other compositions."
        )
    if any(part.coupling is not None for part in parts):
        raise CompositionError(f"{mix} holds an invertible adapter, which does not add up.")
    _check_methods(parts)
    with torch.no_grad():
        deltas = {
            site: _sum(
                [(part, part.deltas[site]) for part in parts if site in part.deltas],
                mix.weights[site].values
                if isinstance(mix, LearnedMix)
                else fixed_weights(mix)[tree.at(site)],
            )
            for site in tree.sites
        }
    method = _method([part.method for part in parts], deltas)
    bases = (part.base for part in parts)
    return Adapter(
        name=name,
        method=method,
        model_type=next((p.model_type for p in parts if p.model_type is not None), None),
        deltas={site: _delta(method, site, tensors) for site, tensors in deltas.items()},
        base=next((base for base in bases if base is not None), None),
    )


def _check_methods(parts: list[Adapter]) -> None:
    """Make sure that all are LoRA, or all are bottlenecks at the same places."""
    first = parts[0]
    for part in parts[1:]:
        kinds = [ROWS.get(one.method.type, type(one.method)) for one in (first, part)]
        if kinds[0] != kinds[1]:
            raise CompositionError(
                f"{first} ({first.method.type}) and {part} ({part.method.type}) do not add up to "
                "one adapter: they are at other places. Publish the mix itself."
            )


def fixed_weights(mix: Mix) -> Tensor:
    """A weight for each part; equal ones where the mix has none. *Shape:* ``(N,)``, float64."""
    weights = mix.weights or (1.0 / len(mix.parts),) * len(mix.parts)
    return torch.tensor(weights, dtype=torch.float64)


_Tensors = dict[str, Tensor]


def _sum(parts: list[tuple[Adapter, Delta]], weights: Tensor) -> _Tensors:
    """The tensors of the sum: bottlenecks side by side, factors and weights taken into ``U``."""
    first_adapter, first = parts[0]
    for adapter, delta in parts[1:]:
        if (delta.form.reads, delta.activation) != (first.form.reads, first.activation):
            raise CompositionError(
                f"{first_adapter} ({first_adapter.method.type}, {first.form.activation}) and "
                f"{adapter} ({adapter.method.type}, {delta.form.activation}) do not add up to one "
                "adapter: they read or activate differently. Publish the mix itself."
            )
    wide = torch.promote_types(first.down.dtype, torch.float32)
    joined = JoinedDeltas([delta for _, delta in parts], first.form.reads, wide)
    numbers = weights.to(wide)[joined.positions]
    ranks = torch.tensor(joined.widths)
    total = int(ranks.sum())
    up = joined.matrix[:, :total] * numbers.repeat_interleave(ranks)
    [(_, down, down_bias)] = joined.downs
    tensors = {"down": down, "up": up.to(first.up.dtype)}
    if down_bias is not None:
        tensors["down_bias"] = down_bias
    if joined.has_constants:
        tensors["up_bias"] = (joined.matrix[:, total:] @ numbers).to(first.up.dtype)
    return tensors


def _method(methods: list[Method], deltas: Mapping[Site, _Tensors]) -> Method:
    """The method of the sum, whose factors are all one."""
    first = methods[0]
    ranks = {site: len(tensors["down"]) for site, tensors in deltas.items()}
    if isinstance(first, LoRA):
        # alpha / rank is the factor.
        rank = max(ranks.values())
        others = {str(site): own for site, own in ranks.items() if own != rank}
        return LoRA(
            rank=rank,
            alpha=rank,
            target_modules=tuple(sorted(map(str, ranks))),
            rank_pattern=others,
            alpha_pattern=others,
            bias=any("up_bias" in tensors for tensors in deltas.values()),
        )
    assert isinstance(first, Bottleneck)
    left_out = set(first.leave_out).intersection(*(method.leave_out for method in methods))
    sizes = {site.layer: rank for site, rank in ranks.items() if isinstance(site, BlockSite)}
    return replace(first, scaling=1.0, dropout=0.0, leave_out=tuple(left_out)).with_sizes(sizes)


def _delta(method: Method, site: Site, tensors: _Tensors) -> Delta:
    shape = DeltaShape(tensors["down"].shape[1], *tensors["up"].T.shape)
    form = method.form(site, shape.rank)
    if form.up_bias and "up_bias" not in tensors:
        tensors = {**tensors, "up_bias": tensors["up"].new_zeros(shape.outputs)}
    return frozen(f"The sum at {site}", lambda: Delta(shape, form), tensors)
