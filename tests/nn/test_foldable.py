"""When a fusion is folded, and when not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hubkit import Fuse, Fusion, attach
from hubkit.bases.describe import describe
from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.nodes import FusionNode, MixNode, Reading, StackNode
from tests.nn.samples import Part, folded, fusion, is_folded, plain, reading
from tests.support.models import random_adapter, randomize, run, same, snapshot, tiny_model

THREE = [
    Part("seq_bn", 2, "relu", 1.0),
    Part("seq_bn", 5, "swish", "learned"),
    Part("seq_bn", 1, "relu", 4.0),
]


def make(*, seed: int = 0) -> Any:
    return fusion(THREE, seed=seed)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_it_is_folded_just_where_that_takes_fewer_multiplications(
    rank: int, inputs: int, size: int, count: int
) -> None:
    ranks = [rank] * count
    node = fusion([Part("lora", r, "linear", 1.0, False) for r in ranks], size, inputs=inputs)
    total = sum(ranks)
    # For each token: the down-projections, then (plainly) all deltas, Wq, Wk^T and Wv; or what the
    # bottlenecks are asked, and the one product that ends it. What has N d terms is left out.
    plainly = total * inputs + total * size + size * inputs + 2 * size * size
    once = total * inputs + total * inputs + total * size
    assert is_folded(node) == (once < plainly)


@pytest.mark.parametrize(("rank", "cheaper"), [(23, True), (24, False)])
def test_of_a_square_query_the_ranks_must_add_up_to_less_than_three_times_the_width(
    rank: int, cheaper: bool
) -> None:
    node = fusion([Part(rank=rank - 2), Part(rank=2)])
    assert is_folded(node) == cheaper
    torch.testing.assert_close(node(reading())[1], plain(node, reading()), rtol=0, atol=1e-9)


def wide(_node: FusionNode) -> FusionNode:
    return fusion([Part(rank=12)] * 2)


def stacked(node: FusionNode) -> FusionNode:
    first, second, third = node.branches
    return FusionNode([StackNode([first, second]), third], node.layer).eval()


def mixed(node: FusionNode) -> FusionNode:
    first, second, third = node.branches
    return FusionNode([MixNode([first, second], [1.0, -0.5]), third], node.layer).eval()


class Twice(Delta):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Uniform(FusionLayer):
    def forward(self, x: Tensor, deltas: Tensor) -> Any:
        return super().forward(0 * x, deltas)


def subclassed(node: FusionNode) -> FusionNode:
    node.branches[0].__class__ = Twice
    return node


def subclassed_layer(node: FusionNode) -> FusionNode:
    node.layer.__class__ = Uniform
    return node


def patched(node: FusionNode) -> FusionNode:
    node.layer.query.forward = lambda x: torch.zeros_like(x)  # type: ignore[method-assign]
    return node


def patched_delta(node: FusionNode) -> FusionNode:
    node.branches[1].forward = lambda x: -x
    return node


def reparametrised(node: FusionNode) -> FusionNode:
    nn.utils.parametrizations.weight_norm(node.layer.key)
    return node.requires_grad_(False)


def output_of(node: FusionNode) -> Tensor:
    """The node by its branches, each called: what a stack or a mix adds, written out."""
    site = reading()
    values = []
    for branch in node.branches:
        if isinstance(branch, StackNode):
            first, second = branch.stages
            values.append(second(site.plus(first(site.read("norm"))).read("norm")))
        elif isinstance(branch, MixNode):
            first, second = branch.branches
            values.append(first(site.read("norm")) - 0.5 * second(site.read("norm")))
        else:
            values.append(branch(site.read("norm")))
    result: Tensor = node.layer(site.read("norm"), torch.stack(values, dim=-2)).delta
    return result


@pytest.mark.parametrize(
    "change",
    [wide, stacked, mixed, subclassed, subclassed_layer, patched, patched_delta, reparametrised],
)
def test_what_its_modules_do_otherwise_is_done(change: Callable[[Any], FusionNode]) -> None:
    node = change(make())
    assert not node.joins(list(node.branches), node.layer)
    torch.testing.assert_close(node(reading())[1], output_of(node), rtol=0, atol=1e-12)


def from_inference_mode(node: Any) -> None:
    with torch.inference_mode():
        node.layer.query.weight = nn.Parameter(torch.randn(8, 8).double(), requires_grad=False)


@pytest.mark.parametrize(
    "change",
    [from_inference_mode, lambda node: node.train(), lambda node: node.requires_grad_(True)],
)
def test_what_should_not_be_folded_is_computed_from_the_weights(
    change: Callable[[Any], object],
) -> None:
    node = make()
    change(node)
    assert not is_folded(node)
    torch.testing.assert_close(node(reading())[1], plain(node, reading()), rtol=0, atol=1e-10)


@pytest.mark.parametrize("trained", ["branches", "layer"])
def test_one_weight_that_learns_is_enough_not_to_fold(trained: str) -> None:
    node = make()
    getattr(node, trained).requires_grad_(True)
    assert not is_folded(node)
    node(reading())[1].sum().backward()
    for name, parameter in node.named_parameters():
        assert (parameter.grad is not None) == name.startswith(trained), name


def test_float16_and_autocast_are_computed_plainly() -> None:
    node = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not is_folded(node)
    assert is_folded(node)
    assert not is_folded(node.half())
    site = reading(dtype=torch.float16)
    torch.testing.assert_close(node(site)[1], plain(node, site), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tracing_sees_the_weights_and_not_their_products() -> None:
    node, site = make(), reading()

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = node

        def forward(self, output: Tensor, entered: Tensor) -> Tensor:
            added: Tensor = self.node(Reading(output, entered, site.norm))[1]
            return added

    traced = torch.jit.trace(Added(), (site.output, site.entered))
    before = traced(site.output, site.entered)
    torch.testing.assert_close(before, plain(node, site), rtol=0, atol=1e-10)
    with torch.no_grad():
        node.layer.query.weight.mul_(1.5)
    after = traced(site.output, site.entered)
    torch.testing.assert_close(after, plain(node, site), rtol=0, atol=1e-10)
    assert not torch.equal(after, before)


def test_a_fusion_to_train_is_not_folded_in_any_mode_and_its_gradients_flow() -> None:
    node, site = make().requires_grad_(True), reading()
    node(site)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in node.parameters())
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            assert not is_folded(node)
            torch.testing.assert_close(node(site)[1], plain(node, site), rtol=0, atol=1e-10)


def test_a_copy_folded_in_inference_mode_passes_gradients_on_to_its_input() -> None:
    node, site = make(), reading()
    with torch.inference_mode():
        node(reading())
    kept = folded(node)
    site.output.requires_grad_()
    (found,) = torch.autograd.grad(node(site)[1].square().sum(), site.output)
    assert folded(node) is kept
    again = reading()
    again.output.requires_grad_()
    (expected,) = torch.autograd.grad(plain(node, again).square().sum(), again.output)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("listened", ["layer", "branches.1", "layer.query"])
@pytest.mark.parametrize("listen", ["register_forward_hook", "register_forward_pre_hook"])
def test_who_listens_to_a_module_of_the_fusion_hears_it(listened: str, listen: str) -> None:
    node, site = make(), reading()
    expected = node(site)[1]
    heard: list[Any] = []
    module = node.get_submodule(listened)
    handle = getattr(module, listen)(lambda *arguments: heard.append(arguments[-1]))
    torch.testing.assert_close(node(site)[1], expected, rtol=0, atol=1e-10)
    assert len(heard) == 1
    if (listened, listen) == ("layer", "register_forward_hook"):
        torch.testing.assert_close(heard[0].attention.sum(-1), torch.ones(2, 3).double())
    handle.remove()
    assert torch.equal(node(site)[1], expected)
    assert len(heard) == 1


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_the_state_and_the_files_are_those_of_the_weights(method: str, tmp_path: Path) -> None:
    model = tiny_model()
    parts = [
        replace(random_adapter(model, name, method, seed=seed), base=describe(model))
        for seed, name in enumerate("abc")
    ]
    made = Fusion.create(Fuse(*parts))
    for layer in made.layers.values():
        randomize(layer, 7, sigma=0.1)
        layer.requires_grad_(False).eval()
    with attach(model, made):
        names, modules = list(model.state_dict()), [*model.named_modules()]
        made.save(tmp_path / "before")
        run(model)
        nodes = [module for module in model.modules() if isinstance(module, FusionNode)]
        assert len(nodes) == len(made.layers)
        assert all(node._kept is not None for node in nodes)
        assert list(model.state_dict()) == names
        assert [*model.named_modules()] == modules
        made.save(tmp_path / "after")
    files = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "after").iterdir()}
    loaded = Fusion.load(tmp_path / "after", made.parts)
    for site, layer in made.layers.items():
        assert same(snapshot(loaded.layers[site]), snapshot(layer))
