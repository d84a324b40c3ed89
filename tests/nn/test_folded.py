from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hubkit import Fusion, attach
from hubkit.nn.delta import ACTIVATIONS, Delta
from hubkit.nn.folded import Folded
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.methods import METHODS, Method
from hubkit.nn.nodes import DeltaNode, FusionNode, Reading, StackNode
from tests.adapters.test_attach import CASES
from tests.adapters.test_fusion import adapters, random_fusion
from tests.support.models import (
    ARCHITECTURES,
    REFERENCES,
    randomize,
    reference_base,
    reference_outputs,
    run,
    same,
    snapshot,
    tiny_model,
)

Part = tuple[str, int, str, float]  # method, bottleneck size, activation, scaling
THREE: list[Part] = [
    ("seq_bn", 2, "relu", 1.0),
    ("seq_bn", 5, "swish", -1.5),
    ("seq_bn", 1, "relu", 4.0),
]


def make(
    parts: list[Part], width: int = 8, *, value: bool = True, seed: int = 0, sigma: float = 0.5
) -> FusionNode:
    """A frozen fusion in double precision in which no weight, bias or scale is special."""
    deltas = [
        Delta(Method(type=type, bottleneck_size=size, activation=act, scaling=scaling), width)
        for type, size, act, scaling in parts
    ]
    node = FusionNode([DeltaNode(delta) for delta in deltas], FusionLayer(width, value=value))
    randomize(node.double(), seed, sigma)
    return node.requires_grad_(False).eval()


def reading(width: int = 8, *, seed: int = 0, dtype: torch.dtype = torch.double) -> Reading:
    generator = torch.Generator().manual_seed(seed)
    hidden, residual, scale = torch.randn(3, 2, 3, width, generator=generator, dtype=torch.double)
    return Reading(
        hidden.to(dtype), residual.to(dtype), lambda total: total * scale[0, 0].to(dtype)
    )


def plain(node: FusionNode, site: Reading) -> Tensor:
    """The output of the node with the fusion layer at work."""
    extra = site.residual if node.reads == "residual" else 0.0
    return node._mix(site) + extra


def is_folded(node: FusionNode) -> bool:
    return node._fold() is not None


PARTS = st.tuples(
    st.sampled_from([*METHODS]),
    st.integers(1, 5),
    st.sampled_from(["relu", "swish", "gelu", "tanh", "leakyrelu", "linear"]),
    st.sampled_from([1.0, 4.0, -0.7, 0.0]),
)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 6), st.integers(11, 24), st.booleans(), st.integers(0, 2**32))
def test_folded_equals_plain(
    data: st.DataObject, count: int, width: int, value: bool, seed: int
) -> None:
    parts = data.draw(st.lists(PARTS, min_size=count, max_size=count))
    if data.draw(st.booleans(), "one method, as most fusions have"):
        parts = [(parts[0][0], *others) for _, *others in parts]
    node = make(parts, width, value=value, seed=seed, sigma=0.3)
    site = reading(width, seed=seed)
    assert is_folded(node)
    exact = plain(node, site)
    torch.testing.assert_close(node(site)[1], exact, rtol=0, atol=1e-10)

    single = reading(width, seed=seed, dtype=torch.float32)
    found = node.float()(single)[1]
    assert found.dtype == torch.float32
    largest = exact.abs().max().item()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4 * max(largest, 1.0))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_folds_alone_and_beside_another(activation: str) -> None:
    parts: list[Part] = [
        ("seq_bn", 3, activation, 1.0),
        ("seq_bn", 2, "relu", 2.0),
        ("seq_bn", 4, activation, -1.0),
    ]
    node, site = make(parts), reading()
    assert is_folded(node)
    torch.testing.assert_close(node(site)[1], plain(node, site), rtol=0, atol=1e-10)


def test_adapters_of_one_activation_share_a_group() -> None:
    node = make(THREE)
    folded = node._fold()
    assert folded is not None
    assert folded._group_widths == [3, 5]
    assert folded._rows.shape == (2 * 8 + 3, 8)
    assert folded._value.shape == (8, 8 + 3)


def test_bfloat16_is_as_near_to_the_truth_as_the_fusion_layer() -> None:
    node, site = make(THREE, 32, sigma=0.2), reading(32)
    truth = plain(node, site)
    half, rounded = node.bfloat16(), reading(32, dtype=torch.bfloat16)
    assert is_folded(half)
    found = half(rounded)[1]
    assert found.dtype == torch.bfloat16
    error, of_plain = (found - truth).abs().mean(), (plain(half, rounded) - truth).abs().mean()
    assert error.item() < 1.5 * of_plain.item()


def wide(node: FusionNode) -> FusionNode:
    return make([("seq_bn", 12, "relu", 1.0)] * 2)


def stacked(node: FusionNode) -> FusionNode:
    first, second, third = node.branches
    return FusionNode([StackNode([first, second]), third], node.layer).eval()


class Twice(Delta):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def subclassed(node: FusionNode) -> FusionNode:
    node.branches[0].delta.__class__ = Twice
    return node


def patched(node: FusionNode) -> FusionNode:
    node.layer.query.forward = lambda x: torch.zeros_like(x)  # type: ignore[method-assign]
    return node


def reparametrised(node: FusionNode) -> FusionNode:
    nn.utils.parametrizations.weight_norm(node.layer.key)
    return node.requires_grad_(False)


def from_inference_mode(node: FusionNode) -> FusionNode:
    with torch.inference_mode():
        node.layer.query.weight = nn.Parameter(torch.randn(8, 8).double(), requires_grad=False)
    return node


@pytest.mark.parametrize(
    "change",
    [
        wide,
        stacked,
        subclassed,
        patched,
        reparametrised,
        from_inference_mode,
        lambda node: node.train(),
        lambda node: node.requires_grad_(True),
    ],
)
def test_what_cannot_or_should_not_be_folded_is_computed_plainly(
    change: Callable[[FusionNode], FusionNode],
) -> None:
    node = change(make(THREE))
    assert not is_folded(node)
    torch.testing.assert_close(node(reading())[1], plain(node, reading()), rtol=0, atol=0)


def test_float16_and_autocast_are_computed_plainly() -> None:
    node = make(THREE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not is_folded(node)
    assert is_folded(node)
    assert not is_folded(node.half())


def test_gradients_flow_in_eval_mode_unless_they_are_switched_off() -> None:
    node, site = make(THREE).requires_grad_(True), reading()
    node(site)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in node.parameters())
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            assert is_folded(node)
            torch.testing.assert_close(node(site)[1], plain(node, site), rtol=0, atol=1e-10)


def test_a_copy_folded_in_inference_mode_passes_gradients_on_to_its_input() -> None:
    node, site = make(THREE), reading()
    with torch.inference_mode():
        node(site)
    kept = node._fold()
    site = reading()
    site.output.requires_grad_()
    (found,) = torch.autograd.grad(node(site)[1].square().sum(), site.output, retain_graph=True)
    assert node._fold() is kept
    (expected,) = torch.autograd.grad(plain(node, site).square().sum(), site.output)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


# Every way to change a weight.
def in_place(node: FusionNode) -> None:
    with torch.no_grad():
        node.layer.query.weight.mul_(1.5)


def in_place_in_inference_mode(node: FusionNode) -> None:
    with torch.inference_mode():
        node.branches[0].delta.down.bias.add_(1.0)


def step(node: FusionNode) -> None:
    node.requires_grad_(True)
    optimizer = torch.optim.AdamW(node.parameters(), lr=0.1)
    node(reading())[1].square().sum().backward()
    optimizer.step()
    node.requires_grad_(False)


def load_whole(node: FusionNode) -> None:
    node.load_state_dict(make(THREE, seed=5).state_dict())


def load_layer(node: FusionNode) -> None:
    node.layer.load_state_dict(make(THREE, seed=5).layer.state_dict())


def load_assigned(node: FusionNode) -> None:
    node.branches.load_state_dict(make(THREE, seed=5).branches.state_dict(), assign=True)


def replace_parameter(node: FusionNode) -> None:
    node.layer.key.weight = nn.Parameter(2 * node.layer.key.weight, requires_grad=False)


def replace_same_memory(node: FusionNode) -> None:
    """The same memory and the same count of writes, in another tensor."""
    old = node.layer.key.weight
    new = nn.Parameter(old.data, requires_grad=False)
    with torch.no_grad():
        while new._version < old._version:
            new.mul_(1.1)
        old.mul_(1.1)
        new.mul_(1.1)
    node.layer.key.weight = new


def replace_data(node: FusionNode) -> None:
    node.branches[1].delta.up.bias.data = node.branches[1].delta.up.bias.data + 1.0


def transpose_data(node: FusionNode) -> None:
    node.layer.query.weight.data = node.layer.query.weight.data.T


def replace_module(node: FusionNode) -> None:
    torch.manual_seed(0)
    node.layer.query = nn.Linear(8, 8).double().requires_grad_(False)


def replace_activation(node: FusionNode) -> None:
    node.branches[0].delta.activation = nn.Tanh()


def change_scaling(node: FusionNode) -> None:
    node.branches[0].delta.scaling = -3.0


def drop_branch(node: FusionNode) -> None:
    del node.branches[1]


def round_and_back(node: FusionNode) -> None:
    for branch in node.branches:
        branch.delta.to(torch.bfloat16).double()


def write_data_and_switch(node: FusionNode) -> None:
    """Torch counts no such write: the switch of modes is what is noticed."""
    for parameter in node.parameters():
        parameter.data.mul_(1.5)
    node.train().eval()


CHANGES = [
    in_place,
    in_place_in_inference_mode,
    step,
    load_whole,
    load_layer,
    load_assigned,
    replace_parameter,
    replace_same_memory,
    replace_data,
    transpose_data,
    replace_module,
    replace_activation,
    change_scaling,
    drop_branch,
    round_and_back,
    write_data_and_switch,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_weight_is_followed(change: Callable[[FusionNode], None]) -> None:
    node = make(THREE)
    before = node(reading())[1]
    kept = node._fold()
    assert node._fold() is kept
    change(node)
    assert is_folded(node)
    assert node._fold() is not kept
    after = node(reading())[1]
    torch.testing.assert_close(after, plain(node, reading()), rtol=0, atol=1e-9)
    assert (after - before).abs().max().item() > 1e-4


def test_a_cast_is_followed_there_and_back() -> None:
    node = make(THREE)
    for dtype in (torch.double, torch.float32, torch.bfloat16, torch.double):
        site = reading(dtype=dtype)
        found = node.to(dtype)(site)[1]
        assert found.dtype == dtype
        close = 0.15 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(found, plain(node, site), rtol=close, atol=close)


@pytest.mark.parametrize("how", [deepcopy, copy, lambda node: pickle.loads(pickle.dumps(node))])
def test_a_copy_of_the_model_leaves_the_folded_copy_behind(how: Callable[[Any], Any]) -> None:
    node = make(THREE)
    size = len(pickle.dumps(node))
    expected = node(reading())[1]
    assert len(pickle.dumps(node)) == size
    other = how(node)
    assert other._kept is None
    assert node._kept is not None
    assert torch.equal(other(reading())[1], expected)
    if how is not copy:
        in_place(other)
        torch.testing.assert_close(other(reading())[1], plain(other, reading()), rtol=0, atol=1e-10)
        assert torch.equal(node(reading())[1], expected)


def test_moving_or_switching_frees_the_memory_at_once() -> None:
    node = make(THREE)
    for let_go in (node.train, node.eval, node.double, lambda: load_whole(node)):
        node.eval()(reading())
        assert node._kept is not None
        let_go()
        assert node._kept is None


def test_the_state_and_the_files_are_those_of_the_weights(tmp_path: Path) -> None:
    fusion = random_fusion(adapters("seq_bn", 3))
    model = tiny_model()
    with attach(model, fusion):
        names, modules = list(model.state_dict()), [*model.named_modules()]
        fusion.save(tmp_path / "before")
        run(model)
        assert list(model.state_dict()) == names
        assert [*model.named_modules()] == modules
        fusion.save(tmp_path / "after")
    files = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "after").iterdir()}
    loaded = Fusion.load(tmp_path / "after", fusion.parts)
    for site, layer in fusion.layers.items():
        assert same(snapshot(loaded.layers[site]), snapshot(layer))


@pytest.mark.parametrize("listen", ["register_forward_hook", "register_forward_pre_hook"])
def test_who_listens_to_the_fusion_layer_hears_it(listen: str) -> None:
    node, site = make(THREE), reading()
    expected = node(site)[1]
    heard: list[Any] = []
    handle = getattr(node.layer, listen)(lambda *arguments: heard.append(arguments[-1]))
    torch.testing.assert_close(node(site)[1], expected, rtol=0, atol=1e-10)
    assert len(heard) == 1
    if listen == "register_forward_hook":
        torch.testing.assert_close(heard[0].attention.sum(-1), torch.ones(2, 3).double())
    handle.remove()
    assert torch.equal(node(site)[1], expected)
    assert len(heard) == 1


def reference_fusions() -> Iterator[Any]:
    for architecture in ARCHITECTURES:
        for method in METHODS:
            for case in ("fuse_dynamic", "fuse_static"):
                yield pytest.param(architecture, method, case, id=f"{architecture}-{method}-{case}")


@pytest.mark.parametrize(("architecture", "method", "case"), [*reference_fusions()])
def test_folded_fusions_equal_those_of_the_reference_library(
    architecture: str, method: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Folded] = []
    call = Folded.__call__
    monkeypatch.setattr(
        Folded, "__call__", lambda self, inputs: (calls.append(self), call(self, inputs))[1]
    )
    folder = REFERENCES / architecture / method
    inputs, expected = reference_outputs(folder)
    model = reference_base(architecture)
    fusion = CASES[case](folder)
    with attach(model, fusion):
        found = run(model, inputs)
    assert len(calls) == len(fusion.layers)
    torch.testing.assert_close(found, expected[case], rtol=0, atol=1e-5)
