from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.nodes import FusionNode, MixNode, MixWeights, Reading, StackNode, add, common_reads
from registry.errors import CompositionError
from tests.nn import samples
from tests.nn.samples import Part, naive_fusion
from tests.support.models import randomize

WIDTH = 6
ACTIVATIONS = {"seq_bn": "relu", "double_seq_bn": "swish", "par_bn": "relu", "lora": "linear"}


def delta(method: str, seed: int) -> Delta:
    part = Part(method, 3, ACTIVATIONS[method], 4.0 if method == "par_bn" else 1.0)
    return samples.delta(part._replace(biased=method != "lora"), WIDTH, seed=seed)


def chained(seed: int) -> Delta:
    made = delta("lora", seed)
    made.form = replace(made.form, chained=True)
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
    assert reading.read("input") is residual
    assert torch.equal(reading.read("norm"), layer_norm(hidden + residual))
    # Models with the norm before the sub-block have none after the sum.
    assert torch.equal(Reading(hidden, residual, None).read("norm"), hidden + residual)


def test_after_a_delta_all_is_read_anew_but_what_entered() -> None:
    hidden, residual, layer_norm = site()
    reading = Reading(hidden, residual, layer_norm)
    reading.read("norm")
    after = reading.plus(torch.ones_like(hidden))
    assert torch.equal(after.output, hidden + 1)
    assert after.entered is residual
    assert torch.equal(after.read("norm"), layer_norm(hidden + 1 + residual))
    assert torch.equal(reading.read("norm"), layer_norm(hidden + residual))


def test_the_norm_runs_once_for_all_the_adapters_of_a_fusion() -> None:
    hidden, residual, layer_norm = site()
    calls = []
    layer_norm.register_forward_hook(lambda *_: calls.append(1))
    node = FusionNode([delta("seq_bn", seed) for seed in range(3)], FusionLayer(WIDTH).double())
    node(Reading(hidden, residual, layer_norm))
    assert len(calls) == 1


@pytest.mark.parametrize("method", ACTIVATIONS)
def test_a_delta_alone_is_a_node(method: str) -> None:
    reading, made = Reading(*site()), delta(method, 1)
    to, added = add(made, reading)
    assert to is reading
    torch.testing.assert_close(added, samples.by_hand(made, reading), rtol=0, atol=1e-12)


def test_each_stage_of_a_stack_reads_what_the_one_before_it_has_changed() -> None:
    hidden, residual, layer_norm = site()
    first, second = delta("seq_bn", 1), delta("double_seq_bn", 2)
    reading, added = StackNode([first, second])(Reading(hidden, residual, layer_norm))
    middle = hidden + first(layer_norm(hidden + residual))
    torch.testing.assert_close(reading.output + added, middle + second(middle))

    reading, added = StackNode([second, first])(Reading(hidden, residual, layer_norm))
    middle = hidden + second(hidden)
    torch.testing.assert_close(
        reading.output + added, middle + first(layer_norm(middle + residual))
    )


def test_a_stack_of_three_goes_through_all_of_them() -> None:
    hidden, residual, layer_norm = site()
    stages = [delta("seq_bn", seed) for seed in range(3)]
    reading, added = StackNode(stages)(Reading(hidden, residual, layer_norm))
    expected = hidden
    for stage in stages:
        expected = expected + stage(layer_norm(expected + residual))
    torch.testing.assert_close(reading.output + added, expected, rtol=0, atol=1e-12)
    nested = StackNode([StackNode(stages[:2]), stages[2]])
    reading, added = nested(Reading(hidden, residual, layer_norm))
    torch.testing.assert_close(reading.output + added, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["par_bn", "lora"])
def test_stacked_deltas_whose_input_does_not_change_add_up(method: str) -> None:
    hidden, entered, layer_norm = site()
    first, second = delta(method, 1), delta(method, 2)
    reading, added = StackNode([first, second])(Reading(hidden, entered, layer_norm))
    torch.testing.assert_close(reading.output + added, hidden + first(entered) + second(entered))


def test_a_chained_lora_makes_its_own_of_what_the_one_before_it_would_add() -> None:
    hidden, entered, _ = site()
    first, second, third = (chained(seed) for seed in range(3))
    reading, added = StackNode([first, second])(Reading(hidden, entered, None))
    torch.testing.assert_close(reading.output + added, hidden + second(first(entered)))
    reading, added = StackNode([first, second, third])(Reading(hidden, entered, None))
    torch.testing.assert_close(reading.output + added, hidden + third(second(first(entered))))
    # The first has nothing before it, and one that is not chained adds up.
    assert torch.equal(add(first, reading)[1], first(entered))
    reading, added = StackNode([first, delta("lora", 5)])(Reading(hidden, entered, None))
    torch.testing.assert_close(
        reading.output + added, hidden + first(entered) + delta("lora", 5)(entered)
    )


def test_the_query_of_a_fusion_is_what_its_adapters_read() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH).double()
    randomize(layer, 5, sigma=0.5)
    nothing = torch.zeros(())
    for type, read, extra in (
        ("seq_bn", layer_norm(hidden + residual), nothing),
        ("double_seq_bn", hidden, nothing),
        # The parallel fusions of the library they come from add the residual once more.
        ("par_bn", residual, residual),
        ("lora", residual, nothing),
    ):
        parts = [delta(type, 1), delta(type, 2)]
        reading, added = FusionNode(parts, layer)(Reading(hidden, residual, layer_norm))
        deltas = torch.stack([part(read) for part in parts], dim=-2)
        assert reading.output is hidden
        torch.testing.assert_close(added, naive_fusion(layer, read, deltas)[0] + extra)


def test_a_fusion_of_different_methods_asks_with_the_normed_state() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH).double()
    randomize(layer, 5, sigma=0.5)
    one, other = delta("seq_bn", 1), delta("par_bn", 2)
    _, added = FusionNode([one, other], layer)(Reading(hidden, residual, layer_norm))
    normed = layer_norm(hidden + residual)
    deltas = torch.stack([one(normed), other(residual)], dim=-2)
    torch.testing.assert_close(added, naive_fusion(layer, normed, deltas)[0])
    assert common_reads([one, other]) == "norm"
    assert common_reads([other, StackNode([one, other])]) == "residual"


def test_of_a_stack_in_a_fusion_the_last_stage_is_mixed() -> None:
    hidden, residual, layer_norm = site()
    layer = FusionLayer(WIDTH, value=False).double()
    language, task, other = (delta("double_seq_bn", seed) for seed in range(3))
    stack = StackNode([language, task])
    _, added = FusionNode([stack, other], layer)(Reading(hidden, residual, layer_norm))
    deltas = torch.stack([task(hidden + language(hidden)), other(hidden)], dim=-2)
    torch.testing.assert_close(added, naive_fusion(layer, hidden, deltas)[0])


def test_a_mix_is_a_weighted_sum() -> None:
    hidden, residual, layer_norm = site()
    one, other = delta("seq_bn", 1), delta("par_bn", 2)
    to, added = MixNode([one, other], [0.3, -1.5])(reading := Reading(hidden, residual, layer_norm))
    assert to is reading
    expected = 0.3 * one(layer_norm(hidden + residual)) - 1.5 * other(residual)
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-12)
    assert list(MixNode([one, other], [0.3, -1.5]).state_dict()) == [
        f"branches.{n}.{name}" for n in range(2) for name in one.state_dict()
    ]


def test_of_a_stack_in_a_mix_the_last_stage_is_mixed() -> None:
    hidden, residual, layer_norm = site()
    language, task, other = (delta("double_seq_bn", seed) for seed in range(3))
    node = MixNode([StackNode([language, task]), other], [0.5, 2.0])
    _, added = node(Reading(hidden, residual, layer_norm))
    torch.testing.assert_close(added, 0.5 * task(hidden + language(hidden)) + 2 * other(hidden))


def test_learned_weights_start_equal_and_get_the_gradient_of_a_weighted_sum() -> None:
    hidden, residual, layer_norm = site()
    parts = [delta("double_seq_bn", seed) for seed in range(4)]
    learned = MixWeights(4).double()
    assert learned.values.tolist() == [0.25] * 4
    with torch.no_grad():
        learned.values.copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
    node = MixNode(parts, learned)
    assert [name for name, _ in node.named_parameters() if "branches" not in name] == [
        "weights.values"
    ]
    _, added = node(Reading(hidden, residual, layer_norm))
    values = [part(hidden) for part in parts]
    torch.testing.assert_close(added, 0.5 * values[0] - values[1] + 2 * values[2])
    gradient = torch.randn(added.shape, generator=torch.Generator().manual_seed(0)).double()
    (added * gradient).sum().backward()
    expected = torch.stack([(value * gradient).sum() for value in values])
    torch.testing.assert_close(learned.values.grad, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("joined", [True, False])
def test_a_vector_weighs_each_output_of_a_part_as_in_scalearn(joined: bool) -> None:
    hidden, residual, layer_norm = site()
    parts: list[nn.Module] = [delta("double_seq_bn", seed) for seed in range(3)]
    if not joined:  # the last stage of a stack is what is mixed
        parts[0] = StackNode([delta("double_seq_bn", 7), delta("double_seq_bn", 0)])
    learned = MixWeights(3, WIDTH).double()
    assert learned.values.shape == (3, WIDTH)
    assert learned.values.unique().tolist() == pytest.approx([1 / 3])
    randomize(learned, 3, sigma=0.7)
    _, added = MixNode(parts, learned)(Reading(hidden, residual, layer_norm))
    up = [add(part, Reading(hidden, residual, layer_norm))[1] for part in parts]
    expected = torch.einsum("nd,...nd->...d", learned.values, torch.stack(up, dim=-2))
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-12)
    gradient = torch.randn(added.shape, generator=torch.Generator().manual_seed(0)).double()
    (found,) = torch.autograd.grad((added * gradient).sum(), [learned.values], retain_graph=True)
    (wanted,) = torch.autograd.grad((expected * gradient).sum(), [learned.values])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_weights_are_dropped_while_they_are_learned_and_only_then() -> None:
    learned = MixWeights(1000, total=2000.0, dropout=0.3)
    kept = learned()
    assert kept.unique().tolist() == pytest.approx([0.0, 2 / 0.7])
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(learned.eval()(), learned.values)
    assert torch.equal(learned.train().requires_grad_(False)(), learned.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total": float("nan")}, "add up to a number, not nan"),
        ({"dropout": 1.0}, "from 0 to below 1, not 1.0"),
        ({"dropout": -0.1}, "from 0 to below 1, not -0.1"),
    ],
)
def test_what_makes_no_weights_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        MixWeights(2, **options)


@pytest.mark.parametrize("trained_form", ["fusion", "mix"])
def test_dropout_of_an_adapter_that_is_trained_within_stays_on(trained_form: str) -> None:
    """Adapter and fusion may be trained together: the adapter still has its dropout."""
    hidden, residual, layer_norm = site()
    parts = [delta("seq_bn", 1), delta("seq_bn", 2)]
    for part in parts:
        part.form = replace(part.form, dropout=0.5)
        part.requires_grad_(True)
    if trained_form == "fusion":
        node: nn.Module = FusionNode(parts, FusionLayer(WIDTH, value=False).double())
    else:
        node = MixNode(parts, [0.5, 0.5])
    reading = Reading(hidden, residual, layer_norm)
    whole = node.eval()(reading)[1]
    torch.manual_seed(0)
    one, other = node.train()(reading)[1], node.train()(reading)[1]
    assert not torch.equal(one, other)
    assert not torch.equal(one, whole)
    for part in parts:
        part.requires_grad_(False)
    torch.testing.assert_close(node(reading)[1], whole, rtol=0, atol=1e-12)
