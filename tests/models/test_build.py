"""What a composition becomes at each site: which node, of which parts, on what."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hubkit import Batch, Fuse, Fusion, Mix, Parallel, Stack
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.tree import Tree
from hubkit.models.build import Builder
from hubkit.nn.batch import BatchNode, Copies, Rows
from hubkit.nn.delta import Delta
from hubkit.nn.nodes import FusionNode, MixNode, StackNode
from registry.errors import CompositionError
from tests.support.compositions import random_mix
from tests.support.models import random_adapter, tiny_model

MODEL = tiny_model()
A, B = (random_adapter(MODEL, name, seed=seed) for seed, name in enumerate("ab"))
DOUBLE = random_adapter(MODEL, "double", "double_seq_bn")
INVERTIBLE, OTHER = (
    random_adapter(MODEL, name, "seq_bn_inv", seed=s) for s, name in enumerate("io")
)


def built(composition: Any) -> Builder:
    return Builder(MODEL, Tree.of(composition))


@pytest.mark.parametrize(
    ("composition", "kind"),
    [
        (A, Delta),
        (Stack(A, B), StackNode),
        (Mix(A, B), MixNode),
        (random_mix([A, B]), MixNode),
        (Fusion.create(Fuse(A, B)), FusionNode),
        (Batch([A, None, B]), BatchNode),
        (Parallel(A, B), BatchNode),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else "",
)
def test_each_composition_has_its_node_at_each_of_its_sites(composition: Any, kind: type) -> None:
    nodes = built(composition).nodes()
    assert nodes.keys() == A.deltas.keys()
    assert {type(node) for node in nodes.values()} == {kind}


def test_a_part_without_a_site_is_left_out_there() -> None:
    fusion, stack = Fusion.create(Fuse(A, DOUBLE)), Stack(A, DOUBLE)
    assert A.deltas.keys() < DOUBLE.deltas.keys()
    for site, node in built(fusion).nodes().items():
        assert isinstance(node, FusionNode)
        assert len(node.branches) == (2 if site in A.deltas else 1)
    alone = {site for site, node in built(stack).nodes().items() if isinstance(node, Delta)}
    assert alone == DOUBLE.deltas.keys() - A.deltas.keys()


def test_a_pruned_fusion_has_the_parts_that_it_keeps() -> None:
    fusion = Fusion.create(Fuse(A, B))
    attention = {str(site): {"a": 0.25, "b": 0.75} for site in fusion.layers}
    for site, node in built(fusion.prune(attention, 1)).nodes().items():
        assert isinstance(node, FusionNode)
        (branch,) = node.branches
        assert branch is B.deltas[site]


def test_weights_of_the_models_dtype_and_device_are_shared() -> None:
    for site, node in built(A).nodes().items():
        assert node is A.deltas[site]


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2],
    ids=str,
)
def test_adapters_are_computed_in_float32_or_in_what_is_wider(
    dtype: torch.dtype, computed: torch.dtype
) -> None:
    nodes = Builder(tiny_model().to(dtype), Tree.of(A)).nodes()
    assert {p.dtype for node in nodes.values() for p in node.parameters()} == {computed}
    assert {p.dtype for delta in A.deltas.values() for p in delta.parameters()} == {torch.float32}


def test_what_is_to_be_trained_stays_the_one_that_its_owner_saves() -> None:
    adapter = random_adapter(MODEL, "t")
    for delta in adapter.deltas.values():
        delta.requires_grad_(True)
    nodes = Builder(tiny_model().double(), Tree.of(adapter)).nodes()
    for site, node in nodes.items():
        assert node is adapter.deltas[site]
        assert {p.dtype for p in node.parameters()} == {torch.float64}


def test_rows_are_chosen_where_a_batch_or_copies_are() -> None:
    assert built(Stack(A, B)).rows is None
    assert type(built(Batch([A, B])).rows) is Rows
    assert type(built(Stack(A, Parallel(A, B))).rows) is Copies


def test_couplings_go_with_the_adapters_that_have_one() -> None:
    assert built(A).couplings() is None
    assert built(INVERTIBLE).couplings() is not None
    assert built(Stack(A, INVERTIBLE)).couplings() is not None
    assert built(Batch([A, INVERTIBLE])).couplings() is not None


@pytest.mark.parametrize("composition", [Mix(INVERTIBLE, OTHER), Parallel(INVERTIBLE, OTHER)])
def test_embeddings_go_through_one_coupling(composition: Any) -> None:
    with pytest.raises(CompositionError, match="embeddings go through one"):
        built(composition).couplings()


def test_a_learned_mix_is_of_its_own_weights() -> None:
    mix = random_mix([A, B])
    assert isinstance(mix, LearnedMix)
    nodes = built(mix).nodes()
    for site, weights in mix.weights.items():
        carried = {p.data_ptr() for p in nodes[site].parameters()}
        assert {p.data_ptr() for p in weights.parameters()} <= carried
