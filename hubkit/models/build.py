"""From a composition to what it computes at each site, for one model."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import LearnedMix, fixed_weights
from hubkit.adapters.tree import Tree
from hubkit.composition import Batch, Mix, Parallel, Stack
from hubkit.methods.sites import Site
from hubkit.nn.batch import BatchNode, Copies, Rows
from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.host import backbone
from hubkit.nn.invertible import Coupling, CouplingNode
from hubkit.nn.nodes import FusionNode, MixNode, StackNode
from registry.errors import CompositionError

_Module = TypeVar("_Module", bound=nn.Module)


class Builder:
    """Makes the nodes of one composition.

    Args:
        model: Says on which device, and in which dtype.
        tree: A composition with all its weights.
    """

    def __init__(self, model: PreTrainedModel, tree: Tree) -> None:
        weight: Tensor = next(backbone(model).parameters())
        self._device = weight.device
        # Never less than float32, whatever the base model is in: small steps of training would be
        # lost (PEFT: autocast_adapter_dtype).
        self._dtype = torch.promote_types(weight.dtype, torch.float32)
        self._tree = tree
        self.rows = _rows(tree)

    def nodes(self) -> dict[Site, nn.Module]:
        """What is added at each site of the composition."""
        return {site: self._node(site, self._tree) for site in self._tree.sites}

    def couplings(self) -> CouplingNode | None:
        """What the embeddings go through; None where no adapter is invertible.

        Raises:
            CompositionError: What is added up or chosen by rows too late has different ones.
        """
        by_rows = self._tree.row_choice
        numbers: list[int | None] = [0]
        if isinstance(by_rows, Batch):
            # Rows without an entry still go through the rest of the composition.
            numbers = [None, *range(len(by_rows.parts))]
        entries = {number: _chain(self._tree, number) for number in numbers}
        placed = {i: [self._placed(one) for one in chain] for i, chain in entries.items() if chain}
        if not placed:
            return None
        return CouplingNode(placed, self.rows if isinstance(by_rows, Batch) else None)

    def _node(self, site: Site, tree: Tree) -> nn.Module:
        """What a composition computes at a ``site`` that it has."""
        composition = tree.composition
        if isinstance(composition, Adapter):
            return self._placed(composition.deltas[site])
        numbers = composition.present(site) if isinstance(composition, Fusion) else tree.at(site)
        nodes = {number: self._node(site, tree.parts[number]) for number in numbers}
        if isinstance(composition, Fusion):
            layer: FusionLayer = self._placed(composition.layers[site])
            return FusionNode(list(nodes.values()), layer)
        if isinstance(composition, LearnedMix):
            return MixNode(list(nodes.values()), self._placed(composition.weights[site]))
        if isinstance(composition, Mix):
            weights = fixed_weights(composition)[numbers].tolist()
            return MixNode(list(nodes.values()), weights)
        if isinstance(composition, Batch | Parallel):
            assert self.rows is not None
            return BatchNode(nodes, self.rows)
        assert isinstance(composition, Stack)
        for node in list(nodes.values())[1:]:
            _check_chained(node, site)
        return StackNode(list(nodes.values())) if len(nodes) > 1 else nodes[numbers[0]]

    def _placed(self, module: _Module) -> _Module:
        """``module`` on the device of the model, and in what adapters of it are computed in."""
        own = next(module.parameters())
        if own.device == self._device and own.dtype == self._dtype:
            return module
        # What is to be trained must stay the one that its owner saves. A frozen adapter keeps its
        # own precision: another model may still want it.
        target = module if own.requires_grad else deepcopy(module)
        return target.to(device=self._device, dtype=self._dtype)


def _check_chained(node: nn.Module, site: Site) -> None:
    """Make sure that ``node`` can read what the one before it in a stack gives."""
    if isinstance(node, Delta) and node.form.chained and node.shape.inputs != node.shape.outputs:
        raise CompositionError(
            f"The layer {site} maps {node.shape.inputs} inputs to {node.shape.outputs} outputs, so "
            "LoRAs of AdapterHub, of which each reads what the one before it gives, cannot be "
            "stacked there. A hubkit.Mix with weights of one adds them up."
        )


def _rows(tree: Tree) -> Rows | None:
    """The choice by rows, shared by all nodes; None if all rows are treated alike."""
    by_rows = tree.row_choice
    if isinstance(by_rows, Batch):
        return Rows(by_rows.rows)
    return None if by_rows is None else Copies(len(by_rows.parts))


def _chain(tree: Tree, entry: int | None) -> list[Coupling]:
    """The couplings of a composition, in the order in which they are applied.

    Args:
        tree: What may hold some.
        entry: Which entry of a batch in it is asked for; None for the base model there.
    """
    composition = tree.composition
    if isinstance(composition, Adapter):
        return [] if composition.coupling is None else [composition.coupling]
    if isinstance(composition, Batch):
        return [] if entry is None else _chain(tree.parts[entry], entry)
    if isinstance(composition, Fusion):  # which `adapters` trains with the coupling of the first
        return _chain(tree.parts[0], entry)
    chains = [_chain(part, entry) for part in tree.parts]
    if isinstance(composition, Stack):
        return [coupling for chain in chains for coupling in chain]
    return _only(tree, [chain for chain in chains if chain])


def _only(tree: Tree, chains: Iterable[list[Coupling]]) -> list[Coupling]:
    first: list[Coupling] = []
    for chain in chains:
        if first and [id(one) for one in chain] != [id(one) for one in first]:
            names = ", ".join(str(a) for a in tree.adapters if a.coupling is not None)
            raise CompositionError(
                f"{tree.composition} holds the invertible adapters {names}: embeddings go through "
                "one, which cannot be added up or chosen later. Stack the other adapters on the "
                "one that is meant, or use a Batch."
            )
        first = chain
    return first
