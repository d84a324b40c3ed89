from __future__ import annotations

import torch
from torch import Tensor, nn

from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.methods import Method
from hubkit.nn.nodes import DeltaNode, FusionNode, Reading, StackNode
from tests.support.models import randomize

WIDTH = 6


def delta(type: str, seed: int) -> Delta:
    made = Delta(Method.default(type, WIDTH, 3), WIDTH).double()
    randomize(made, seed, sigma=0.5)
    return made


def norm() -> nn.LayerNorm:
    made = nn.LayerNorm(WIDTH).double()
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


def site() -> tuple[Tensor, Tensor, nn.LayerNorm]:
    torch.manual_seed(0)
    shape = (2, 3, WIDTH)
    return torch.randn(shape).double(), torch.randn(shape).double(), norm()


def test_a_reading_gives_each_method_its_own_input() -> None:
    hidden, residual, layer_norm = site()
    reading = Reading(hidden, residual, layer_norm)
    assert reading.read("output") is hidden
    assert reading.read("residual") is residual
    assert torch.equal(reading.read("norm"), layer_norm(hidden + residual))
    # Models with the norm before the sub-block have none after the sum.
    assert torch.equal(Reading(hidden, residual, None).read("norm"), hidden + residual)


def test_the_norm_runs_once_for_all_the_adapters_of_a_fusion() -> None:
    hidden, residual, layer_norm = site()
    calls = []
    layer_norm.register_forward_hook(lambda *_: calls.append(1))
    node = FusionNode(
        [DeltaNode(delta("seq_bn", seed)) for seed in range(3)], FusionLayer(WIDTH).double()
    )
    node(Reading(hidden, residual, layer_norm))
    assert len(calls) == 1


def test_each_stage_of_a_stack_reads_what_the_one_before_it_has_changed() -> None:
    hidden, residual, layer_norm = site()
    first, second = delta("seq_bn", 1), delta("double_seq_bn", 2)
    reading, added = StackNode([DeltaNode(first), DeltaNode(second)])(
        Reading(hidden, residual, layer_norm)
    )
    middle = hidden + first(layer_norm(hidden + residual))
    torch.testing.assert_close(reading.output + added, middle + second(middle))

    reading, added = StackNode([DeltaNode(second), DeltaNode(first)])(
        Reading(hidden, residual, layer_norm)
    )
    middle = hidden + second(hidden)
    torch.testing.assert_close(
        reading.output + added, middle + first(layer_norm(middle + residual))
    )


def test_stacked_parallel_adapters_add_because_their_input_does_not_change() -> None:
    hidden, residual, layer_norm = site()
    first, second = delta("par_bn", 1), delta("par_bn", 2)
    reading, added = StackNode([DeltaNode(first), DeltaNode(second)])(
        Reading(hidden, residual, layer_norm)
    )
    torch.testing.assert_close(reading.output + added, hidden + first(residual) + second(residual))


def test_the_query_of_a_fusion_is_what_its_adapters_read() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH).double()
    randomize(layer, 5, sigma=0.5)
    for type, read, extra in (
        ("seq_bn", layer_norm(hidden + residual), torch.zeros(())),
        ("double_seq_bn", hidden, torch.zeros(())),
        # The parallel fusions of the library they come from add the residual once more.
        ("par_bn", residual, residual),
    ):
        parts = [delta(type, 1), delta(type, 2)]
        reading, added = FusionNode([DeltaNode(part) for part in parts], layer)(
            Reading(hidden, residual, layer_norm)
        )
        deltas = torch.stack([part(read) for part in parts], dim=-2)
        assert reading.output is hidden
        torch.testing.assert_close(added, layer(read, deltas).delta + extra)


def test_a_fusion_of_different_methods_asks_with_the_normed_state() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH).double()
    randomize(layer, 5, sigma=0.5)
    one, other = delta("seq_bn", 1), delta("par_bn", 2)
    _, added = FusionNode([DeltaNode(one), DeltaNode(other)], layer)(
        Reading(hidden, residual, layer_norm)
    )
    normed = layer_norm(hidden + residual)
    deltas = torch.stack([one(normed), other(residual)], dim=-2)
    torch.testing.assert_close(added, layer(normed, deltas).delta)


def test_of_a_stack_in_a_fusion_the_last_stage_is_mixed() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH, value=False).double()
    language, task, other = (delta("double_seq_bn", seed) for seed in range(3))
    stack = StackNode([DeltaNode(language), DeltaNode(task)])
    _, added = FusionNode([stack, DeltaNode(other)], layer)(Reading(hidden, residual, layer_norm))
    deltas = torch.stack([task(hidden + language(hidden)), other(hidden)], dim=-2)
    torch.testing.assert_close(added, layer(hidden, deltas).delta)
