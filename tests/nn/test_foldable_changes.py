"""A folded copy is never stale: every way to change a weight is followed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.nn.samples import Part, delta, folded, fusion, is_folded, plain, reading

THREE = [
    Part("seq_bn", 2, "relu", 1.0),
    Part("seq_bn", 5, "swish", "learned"),
    Part("seq_bn", 1, "relu", 4.0),
]


def make(*, seed: int = 0) -> Any:
    return fusion(THREE, seed=seed)


def in_place(node: Any) -> None:
    with torch.no_grad():
        node.layer.query.weight.mul_(1.5)


def in_place_in_inference_mode(node: Any) -> None:
    with torch.inference_mode():
        node.branches[0].down_bias.add_(1.0)


def learned_scale(node: Any) -> None:
    with torch.no_grad():
        node.branches[1].scale.mul_(3.0)


def replace_learned_scale(node: Any) -> None:
    node.branches[1].scale = nn.Parameter(3 * node.branches[1].scale, requires_grad=False)


def fix_learned_scale(node: Any) -> None:
    """The factor that was learned becomes a constant."""
    del node.branches[1].scale
    node.branches[1].scale = -2.0


def step(node: Any) -> None:
    node.requires_grad_(True)
    optimizer = torch.optim.AdamW(node.parameters(), lr=0.1)
    node(reading())[1].square().sum().backward()
    optimizer.step()
    node.requires_grad_(False)


def step_without_gradients_of_the_layer(node: Any) -> None:
    """An adapter that learns beside a frozen fusion layer."""
    node.branches[1].requires_grad_(True)
    optimizer = torch.optim.SGD(node.branches[1].parameters(), lr=0.1)
    node(reading())[1].square().sum().backward()
    optimizer.step()
    node.requires_grad_(False)


def load_whole(node: Any) -> None:
    node.load_state_dict(make(seed=5).state_dict())


def load_layer(node: Any) -> None:
    node.layer.load_state_dict(make(seed=5).layer.state_dict())


def load_delta(node: Any) -> None:
    node.branches[1].load_state_dict(make(seed=5).branches[1].state_dict())


def load_assigned(node: Any) -> None:
    node.branches.load_state_dict(make(seed=5).branches.state_dict(), assign=True)


def replace_parameter(node: Any) -> None:
    node.layer.key.weight = nn.Parameter(2 * node.layer.key.weight, requires_grad=False)


def replace_same_memory(node: Any) -> None:
    """The same memory and the same count of writes, in another tensor."""
    old = node.layer.key.weight
    new = nn.Parameter(old.data, requires_grad=False)
    with torch.no_grad():
        while new._version < old._version:
            new.mul_(1.1)
        old.mul_(1.1)
        new.mul_(1.1)
    node.layer.key.weight = new


def replace_data(node: Any) -> None:
    node.branches[1].up_bias.data = node.branches[1].up_bias.data + 1.0


def transpose_data(node: Any) -> None:
    node.layer.query.weight.data = node.layer.query.weight.data.T


def drop_bias(node: Any) -> None:
    node.branches[1].up_bias = None


def replace_module(node: Any) -> None:
    torch.manual_seed(0)
    node.layer.query = nn.Linear(8, 8).double().requires_grad_(False)


def replace_delta(node: Any) -> None:
    node.branches[2] = delta(THREE[2], seed=9)


def replace_activation(node: Any) -> None:
    node.branches[0].activation = nn.Tanh()


def replace_form(node: Any) -> None:
    node.branches[0].form = replace(node.branches[0].form, reads="output")


def change_scaling(node: Any) -> None:
    node.branches[0].scale = -3.0


def drop_branch(node: Any) -> None:
    del node.branches[1]


def round_and_back(node: Any) -> None:
    for branch in node.branches:
        branch.to(torch.bfloat16).double()


def write_data_and_switch(node: Any) -> None:
    """Torch counts no such write: the switch of modes is what is noticed."""
    for parameter in node.parameters():
        parameter.data.mul_(1.5)
    node.train().eval()


CHANGES = [
    in_place,
    in_place_in_inference_mode,
    learned_scale,
    replace_learned_scale,
    fix_learned_scale,
    step,
    step_without_gradients_of_the_layer,
    load_whole,
    load_layer,
    load_delta,
    load_assigned,
    replace_parameter,
    replace_same_memory,
    replace_data,
    transpose_data,
    drop_bias,
    replace_module,
    replace_delta,
    replace_activation,
    replace_form,
    change_scaling,
    drop_branch,
    round_and_back,
    write_data_and_switch,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_weight_is_followed(change: Callable[[Any], None]) -> None:
    node = make()
    before = node(reading())[1]
    kept = folded(node)
    assert kept is not None
    assert folded(node) is kept
    change(node)
    assert is_folded(node)
    assert folded(node) is not kept
    after = node(reading())[1]
    torch.testing.assert_close(after, plain(node, reading()), rtol=0, atol=1e-9)
    assert (after - before).abs().max().item() > 1e-4


def test_a_cast_is_followed_there_and_back() -> None:
    node = make()
    for dtype in (torch.double, torch.float32, torch.bfloat16, torch.double):
        site = reading(dtype=dtype)
        found = node.to(dtype)(site)[1]
        assert found.dtype == dtype
        close = 0.15 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(found, plain(node, site), rtol=close, atol=close)


@pytest.mark.parametrize("how", [deepcopy, copy, lambda node: pickle.loads(pickle.dumps(node))])
def test_a_copy_of_the_model_leaves_the_folded_copy_behind(how: Callable[[Any], Any]) -> None:
    node = make()
    expected = node(reading())[1]
    assert node._kept is not None
    assert b"hubkit.nn.foldable" not in pickle.dumps(node)
    assert b"hubkit.nn.folded" not in pickle.dumps(node)
    other = how(node)
    assert other._kept is None
    assert node._kept is not None
    assert torch.equal(other(reading())[1], expected)
    if how is not copy:
        in_place(other)
        torch.testing.assert_close(other(reading())[1], plain(other, reading()), rtol=0, atol=1e-10)
        assert torch.equal(node(reading())[1], expected)


def test_moving_or_switching_frees_the_memory_at_once() -> None:
    node = make()
    for let_go in (node.train, node.eval, node.double, lambda: load_whole(node)):
        node.eval()(reading())
        assert node._kept is not None
        let_go()
        assert node._kept is None
