"""Trained fusions as values: the fusion layers, with the adapters they were trained on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.adapters.adapter import NAME_THE_BASE, folder_of, frozen
from hubkit.adapters.tree import Attachable, Trained, Tree, names_of, without_number
from hubkit.composition import Fuse
from hubkit.formats.adapterhub.adapter import foreign_name
from hubkit.formats.adapterhub.fusion import read_fusion, write_fusion
from hubkit.formats.heads import read_head, write_head
from hubkit.methods.method import DeltaShape, kept_layers
from hubkit.methods.sites import Site, is_in
from hubkit.nn.fusion import FusionLayer, ValueInit
from hubkit.nn.host import BaseModel
from registry.arguments import checked
from registry.errors import AdapterError, CompositionError
from registry.storage.place import Place


@dataclass(frozen=True, kw_only=True, eq=False)
class Fusion(Trained):
    """AdapterFusion over adapters, stacks or other fusions.

    Attributes:
        name: Its name in messages, tables and files.
        parts: Its parts, in order.
        layers: Its fusion layer at each site where a part has a delta; several sites have the same
            one where it is :attr:`shared`.
        kept: By site, the numbers of the parts that it still attends to after :meth:`prune`; all
            of them at a site that is not there.
        leave_out: The numbers of the layers, from 0, in which neither it nor a part of it adds
            anything, as of an adapter's method; see :meth:`leaving_out`.
        head: The head it was trained with; None if it has none.
        model_type: The architecture of its base model; None where neither the files of its adapters
            nor a model said. Its weights are saved under the names of that architecture.
    """

    layers: Mapping[Site, FusionLayer]
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    leave_out: tuple[int, ...] = ()
    model_type: str | None = None

    def adds_at(self, site: Site) -> bool:
        """Whether it adds something at a ``site`` of its parts."""
        return not self.leave_out or site in self.layers

    @property
    def own_weights(self) -> Mapping[Site, FusionLayer]:
        """Its fusion layers."""
        return self.layers

    @property
    def shared(self) -> bool:
        """Whether several layers of the base model have one fusion layer."""
        return len(set(self.layers.values())) < len(self.layers)

    @classmethod
    @checked
    def create(
        cls,
        fuse: Fuse,
        name: str = "fusion",
        *,
        shared: bool = False,
        value: bool = True,
        value_init: ValueInit = "identity",
        regularization: float = 0.01,
        temperature: float = 1.0,
    ) -> Fusion:
        """New, untrained fusion layers over the parts of ``fuse``.

        Args:
            shared: Whether all layers of the base model have one attention: one fusion layer for
                all sites that differ in the number of the layer alone, and not one for each.
            value: False leaves out the value matrices (AdapterHub's "static").
            value_init: How value matrices start, as in :class:`~hubkit.nn.fusion.FusionLayer`.
            regularization: What the regulariser counts, likewise.
            temperature: What scores are divided by, likewise. A fusion is saved with its queries
                divided by it, which is the same function.

        Raises:
            BaseModelMismatchError: The parts belong to different base models.
            CompositionError: A part is only the name of an adapter, or a number is out of range.
        """
        tree = Tree.of_one_base(fuse)
        made: dict[Hashable, FusionLayer] = {}
        for site, shape in tree.sites.items():
            key = _shared_by(site, shape) if shared else site
            if key not in made:
                made[key] = FusionLayer(
                    shape.outputs,
                    shape.inputs,
                    value=value,
                    value_init=value_init,
                    regularization=regularization,
                    temperature=temperature,
                )
        return cls(
            name=name,
            parts=tuple(part.composition for part in tree.parts),
            layers={
                site: made[_shared_by(site, shape) if shared else site]
                for site, shape in tree.sites.items()
            },
            model_type=tree.model_type,
        )

    @classmethod
    @checked
    def create_in(
        cls,
        model: PreTrainedModel,
        fuse: Fuse,
        name: str = "fusion",
        *,
        leave_out: Sequence[int] = (),
        **options: Any,
    ) -> Fusion:
        """The same as :meth:`create`, for a model, which says what the adapters may not say.

        Args:
            model: The base model.
            leave_out: The numbers of its layers, from 0, in which nothing is fused.
            options: Those of :meth:`create`.

        Raises:
            HubkitError: As :meth:`create` and :meth:`leaving_out`.
        """
        fusion = replace(cls.create(fuse, name, **options), model_type=model.config.model_type)
        return fusion.leaving_out(leave_out, model) if leave_out else fusion

    @classmethod
    @checked
    def load(
        cls,
        folder: str | Place,
        adapters: Sequence[Attachable],
        *,
        name: str | None = None,
        with_head: bool = True,
    ) -> Fusion:
        """Read an AdapterHub fusion folder, frozen.

        Args:
            folder: Where it is.
            adapters: Its parts, in the folder's order.
            name: Its name; default: the name in the file.
            with_head: Whether to read the head of the folder, too.

        Raises:
            AdapterError: A file is missing or malformed, or its tensors do not fit the adapters.
        """
        tree = Tree.of_one_base(Fuse(*adapters))
        folder = folder_of(folder, "fusion")
        stored = read_fusion(folder)
        owner = f"{folder}: fusion {stored.name!r}"
        if len(stored.adapter_names) != len(adapters):
            raise AdapterError(
                f"{owner} was trained on {len(stored.adapter_names)} adapters "
                f"({', '.join(stored.adapter_names)}), but {len(adapters)} were given."
            )
        given = [foreign_name(one) for one in _names(tree)]
        wanted = list(stored.adapter_names)
        if given != wanted and sorted(given) == sorted(wanted):
            raise AdapterError(
                f"{owner} was trained on its adapters in the order "
                f"{', '.join(wanted)}, but they were given as {', '.join(given)}."
            )
        shapes = tree.sites
        odd_sites = stored.tensors.keys() - shapes.keys()
        if not stored.leave_out:  # else the model says which are in the layers that are left out
            odd_sites |= shapes.keys() - stored.tensors.keys()
        if odd_sites:
            odd = ", ".join(sorted(map(str, odd_sites)))
            raise AdapterError(f"{owner} and its adapters do not have the same sites: {odd}.")
        layers = {
            site: _layer(f"{owner} at {site}", shapes[site], tensors)
            for site, tensors in stored.tensors.items()
        }
        for layer in layers.values():
            layer.penalty = layer.penalty if stored.regularized else 0.0
        return cls(
            name=name or stored.name,
            parts=tuple(part.composition for part in tree.parts),
            layers=_tied(owner, layers, shapes) if stored.shared else layers,
            kept=stored.kept,
            leave_out=stored.leave_out,
            model_type=stored.model_type,
            head=read_head(folder) if with_head else None,
        )

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the fusion layers and the head as an AdapterHub folder; the adapters stay apart.

        Raises:
            AdapterError: Nothing says which base model its adapters belong to, or which
                architecture that has.
            StorageError: The folder cannot be written.
        """
        base, model_type = self.base, self.model_type
        if base is None:
            raise AdapterError(
                f"Fusion {self.name!r} names no base model, so it cannot be saved. {NAME_THE_BASE}"
            )
        if model_type is None:
            raise AdapterError(
                f"Nothing says which architecture {base.id} has, the base model of fusion "
                f"{self.name!r}, so it cannot be saved. Attach the hubkit.Fuse of its parts to the "
                "model, and save attach(...).composition."
            )
        head = self.head
        write_fusion(
            Path(folder),
            adapter_names=_names(self.tree),
            value=any(layer.value is not None for layer in self.layers.values()),
            regularized=any(layer.penalty for layer in self.layers.values()),
            shared=self.shared,
            model_type=model_type,
            base=base,
            tensors={site: _tensors(layer) for site, layer in self.layers.items()},
            kept=self.kept,
            leave_out=self.leave_out,
            backbone=None if head is None or head.flexible is not None else head.backbone,
        )
        if self.head is not None:
            name = ",".join(map(foreign_name, _names(self.tree)))
            write_head(Path(folder), self.head, name=name, model_type=model_type, base=base)

    @checked
    def leaving_out(self, layers: Sequence[int], model: PreTrainedModel) -> Fusion:
        """The same fusion without some layers: its parts add nothing there, either.

        Leaving out the lower layers costs little quality, and what lies below those that are left
        needs no backward pass (AdapterDrop, Rücklé et al. 2021, arXiv 2010.11918).

        Args:
            layers: Their numbers, from 0; those of a decoder are counted after those of the
                encoder.
            model: The base model, or one like it.

        Raises:
            AdapterError: ``model`` has fewer layers, or none with a fusion is left.
            UnsupportedModelError: hubkit knows no layers of its architecture.
        """
        left_out = tuple(sorted({*self.leave_out, *layers}))
        kept = kept_layers(BaseModel(model), left_out)
        own = {s: one for s, one in self.layers.items() if any(is_in(s, layer) for layer in kept)}
        if not own:
            raise AdapterError(
                f"The adapters of {self} add nothing in the layers that are not left out: "
                f"{', '.join(kept)}."
            )
        names = {str(site) for site in own}
        pruned = {name: numbers for name, numbers in self.kept.items() if name in names}
        return replace(self, layers=own, kept=pruned, leave_out=left_out)

    @checked
    def prune(self, attention: Mapping[str, Mapping[str, float]], keep: int) -> Fusion:
        """The same fusion over the ``keep`` most attended parts at each site.

        The others are not computed any more there (AdapterDrop, Rücklé et al. 2021). Nothing is
        trained anew, and the weights are shared with this fusion.

        Args:
            attention: The mean weight of each part, by site and by name, as
                ``AdaptedModel.attention`` and ``hubkit.mean_attention`` give it.
            keep: How many, at least one.

        Raises:
            CompositionError: ``keep`` is under one, or ``attention`` is of another fusion.
        """
        if keep < 1:
            raise CompositionError(f"A fusion keeps one adapter or more at a site, not {keep}.")
        names = names_of(self.parts)
        kept = {}
        for site in self.layers:
            numbers = self.present(site)
            weights = attention.get(str(site), {})
            if set(weights) != {names[number] for number in numbers}:
                raise CompositionError(
                    f"At {site}, {self} attends to {', '.join(names[n] for n in numbers)}; the "
                    f"attention given is that of {', '.join(weights) or 'nothing'}."
                )
            best = sorted(numbers, key=lambda number: -weights[names[number]])[:keep]
            kept[str(site)] = tuple(sorted(best))
        return replace(self, kept=kept)

    def present(self, site: Site) -> list[int]:
        """The numbers of the parts that it attends to at ``site``."""
        kept = self.kept.get(str(site))
        return [number for number in self.tree.at(site) if kept is None or number in kept]


def _names(tree: Tree) -> list[str]:
    """The names of the parts in the folder of a fusion: each by its last adapter."""
    return names_of([part.adapters[-1] for part in tree.parts])


def _layer(owner: str, shape: DeltaShape, tensors: Mapping[str, Tensor]) -> FusionLayer:
    value = "value.weight" in tensors
    return frozen(
        owner,
        lambda: FusionLayer(shape.outputs, shape.inputs, value=value),
        tensors,
    )


def _tensors(layer: FusionLayer) -> dict[str, Tensor]:
    """The weights of a layer, those of the query divided by its temperature."""
    return {
        name: tensor.detach() / layer.temperature
        if name.startswith("query.") and layer.temperature != 1.0
        else tensor.detach()
        for name, tensor in layer.state_dict().items()
    }


def _shared_by(site: Site, shape: DeltaShape) -> Hashable:
    """The site without the number of its layer; sites that agree in it share one attention."""
    return without_number(site), shape.inputs, shape.outputs


def _tied(
    owner: str, layers: Mapping[Site, FusionLayer], shapes: Mapping[Site, DeltaShape]
) -> dict[Site, FusionLayer]:
    """One layer where the files repeat it.

    Raises:
        AdapterError: They do not.
    """
    first: dict[Hashable, FusionLayer] = {}
    for site, layer in layers.items():
        known = first.setdefault(_shared_by(site, shapes[site]), layer)
        for name, tensor in layer.state_dict().items():
            if not tensor.is_meta and not torch.equal(tensor, known.state_dict()[name]):
                raise AdapterError(
                    f"{owner} is said to share its attention between layers, but {name} at {site} "
                    "has other numbers than in the layer before."
                )
    return {site: first[_shared_by(site, shapes[site])] for site in layers}
