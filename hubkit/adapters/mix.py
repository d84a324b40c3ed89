"""Learned mixes as values, and a mix as one adapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hubkit.adapters.adapter import NAME_THE_BASE, Adapter, folder_of, frozen
from hubkit.adapters.tree import Attachable, Trained, Tree, without_number
from hubkit.composition import Mix
from hubkit.formats.adapterhub.adapter import foreign_name
from hubkit.formats.heads import read_head, write_head
from hubkit.formats.tensor_files import read_tensors, write_tensors
from hubkit.methods.bottleneck import ROWS, Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import DeltaShape, Method
from hubkit.methods.sites import BlockSite, Site
from hubkit.nn.delta import Delta
from hubkit.nn.joined import JoinedDeltas
from hubkit.nn.nodes import MixWeights
from registry.arguments import checked
from registry.errors import AdapterError, CompositionError
from registry.storage.place import Place

MIX_WEIGHTS = "mix.safetensors"
"""The weights of a learned mix, in a format of hubkit's own: no other library has one.

It holds a tensor for each site, by its name: *shape* ``(N,)``, or ``(N, d)`` if each output has a
weight of its own. If sites share a tensor, it is there once, under their name without the number
of the layer.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedMix(Trained):
    """A mix whose weights are learned (ScaLearn, Frohmann et al. 2024, arXiv 2310.01217).

    The paper's four: a number for each part and site (ScaLearnUniform), or a vector with a weight
    for each output (ScaLearn); and each of them :attr:`shared` by all layers (with ``++``).

    Attributes:
        name: Its name in messages.
        parts: Its parts, in order.
        weights: Its weights at each site, for the parts that have a delta there; several sites
            have the same where they are shared.
        head: The head it was trained with; None if it has none.
    """

    weights: Mapping[Site, MixWeights]

    @property
    def own_weights(self) -> Mapping[Site, MixWeights]:
        """Its weights at each site."""
        return self.weights

    @property
    def vectors(self) -> bool:
        """Whether each output of a part has its own weight."""
        return any(weights.values.ndim == 2 for weights in self.weights.values())

    @property
    def shared(self) -> bool:
        """Whether several layers of the base model have the same weights."""
        return len(set(self.weights.values())) < len(self.weights)

    @classmethod
    @checked
    def create(
        cls,
        mix: Mix,
        name: str = "mix",
        *,
        vectors: bool = False,
        shared: bool = False,
        total: float = 1.0,
        dropout: float = 0.0,
    ) -> LearnedMix:
        """Equal weights, to be trained.

        Args:
            mix: The mix.
            name: Its name.
            vectors: Whether to learn a weight for each output of a part, not one number.
            shared: Whether to learn one set of weights for all layers of the base model.
            total: The sum of the weights of a site at the start. The paper starts around 2.
            dropout: The probability that a weight is dropped in a pass of training. The paper has
                0.3, and 0 for shared numbers.

        Raises:
            BaseModelMismatchError: The parts belong to different base models.
            CompositionError: A part is only the name of an adapter, a number is out of range, or
                weights are to be shared where a part leaves out a layer.
        """
        tree = Tree.of_one_base(mix)
        made: dict[str, MixWeights] = {}
        present: dict[str, list[int]] = {}
        keys = {site: without_number(site) if shared else str(site) for site in tree.sites}
        for site, key in keys.items():
            here = tree.at(site)
            known = present.setdefault(key, here)
            if here != known:
                one = min(set(here) ^ set(known))
                raise CompositionError(
                    f"{mix.parts[one]} adds something in some layers only, such as "
                    f"{'' if one in here else 'not '}at {site}, so all layers cannot share their "
                    "weights. Learn weights for each layer."
                )
            if key not in made:
                size = tree.sites[site].outputs if vectors else None
                made[key] = MixWeights(len(here), size, total=total, dropout=dropout)
        return cls(
            name=name,
            parts=tuple(part.composition for part in tree.parts),
            weights={site: made[key] for site, key in keys.items()},
        )

    @classmethod
    @checked
    def load(
        cls,
        folder: str | Place,
        parts: Sequence[Attachable],
        *,
        name: str = "mix",
        with_head: bool = True,
    ) -> LearnedMix:
        """Read a mix from its folder, frozen.

        Args:
            folder: Where it is.
            parts: Its parts, in its order.
            name: Its name.
            with_head: Whether to read the head of the folder, too.

        Raises:
            AdapterError: A file is missing or malformed, or its tensors do not fit the parts.
        """
        tree = Tree.of_one_base(Mix(*parts))
        folder = folder_of(folder, "mix")
        stored, made = read_tensors(folder, MIX_WEIGHTS), dict[str, MixWeights]()
        names = {
            site: shared if (shared := without_number(site)) in stored else str(site)
            for site in tree.sites
        }
        if odd := sorted(stored.keys() ^ set(names.values())):
            raise AdapterError(
                f"{folder} and its parts do not have the same sites: {', '.join(odd)}."
            )
        for site, key in names.items():
            count, size = len(tree.at(site)), tree.sites[site].outputs
            expected = (count,) if stored[key].ndim == 1 else (count, size)
            if tuple(stored[key].shape) != expected:
                raise AdapterError(
                    f"{folder}: the weights at {site} have the shape {list(stored[key].shape)}, "
                    f"but its parts need {list(expected)}."
                )
            if key not in made:
                made[key] = _frozen(f"{folder} at {site}", stored[key])
        return cls(
            name=name,
            parts=tuple(part.composition for part in tree.parts),
            weights={site: made[key] for site, key in names.items()},
            head=read_head(folder) if with_head else None,
        )

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the weights and the head; the parts stay apart.

        Raises:
            AdapterError: Nothing says which base model its adapters belong to.
            StorageError: The folder cannot be written.
        """
        base = self.base
        if base is None:
            raise AdapterError(
                f"Mix {self.name!r} names no base model, so it cannot be saved. {NAME_THE_BASE}"
            )
        counts = Counter(self.weights.values())
        write_tensors(
            Path(folder, MIX_WEIGHTS),
            {
                without_number(site) if counts[own] > 1 else str(site): own.values.detach()
                for site, own in self.weights.items()
            },
        )
        if self.head is not None:
            name = foreign_name(self.name)
            write_head(
                Path(folder), self.head, name=name, model_type=self.tree.model_type, base=base
            )


def _frozen(owner: str, values: Tensor) -> MixWeights:
    shape = values.shape
    return frozen(
        owner,
        lambda: MixWeights(shape[0], shape[1] if len(shape) == 2 else None),
        {"values": values},
    )


@checked
def collapse(mix: Mix | LearnedMix, name: str = "mix") -> Adapter:
    """One adapter that adds what ``mix`` adds, as wide as all of its adapters together.

    It is an ordinary adapter, to be attached, saved and published.

    Args:
        mix: Of adapters, with fixed or learned weights.
        name: The name of the adapter.

    Raises:
        CompositionError: The parts are no adapters, or add up to none: bottlenecks of different
            types or activations, LoRA beside a bottleneck, or invertible adapters.
        BaseModelMismatchError: The parts belong to different base models.
    """
    tree = Tree.of_one_base(mix)
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
        backbone=parts[0].backbone,
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
    up, constants = joined.weighted(weights.to(wide))
    [(_, down, down_bias)] = joined.downs
    tensors = {"down": down, "up": up.to(first.up.dtype)}
    if down_bias is not None:
        tensors["down_bias"] = down_bias
    if constants is not None:
        tensors["up_bias"] = constants.to(first.up.dtype)
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
