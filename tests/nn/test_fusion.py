from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.nodes import common_reads
from registry.errors import CompositionError
from tests.nn.samples import Part, by_hand, delta, naive_fusion, reading
from tests.support.models import randomize

WIDTH = 8


def make(count: int, *, value: bool, seed: int = 0) -> tuple[FusionLayer, Tensor, Tensor]:
    layer = FusionLayer(WIDTH, value=value).double()
    randomize(layer, seed, sigma=0.4)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, WIDTH, dtype=torch.double, generator=generator)
    deltas = torch.randn(2, 3, count, WIDTH, dtype=torch.double, generator=generator)
    return layer, x, deltas


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_outputs_and_all_gradients_equal_those_of_the_formula(count: int, value: bool) -> None:
    layer, x, deltas = make(count, value=value)
    x.requires_grad_()
    deltas.requires_grad_()
    trained = [*layer.parameters(), x, deltas]
    weights = torch.randn(x.shape, dtype=torch.double, generator=torch.Generator().manual_seed(9))

    fused = layer(x, deltas)
    expected, attention = naive_fusion(layer, x, deltas)
    torch.testing.assert_close(fused.delta, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(fused.attention, attention, rtol=0, atol=1e-10)

    gradients = torch.autograd.grad((fused.delta * weights).sum(), trained)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), trained)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


PARTS = st.builds(
    Part,
    method=st.sampled_from(["seq_bn", "double_seq_bn", "par_bn"]),
    rank=st.integers(1, 5),
    activation=st.sampled_from(["relu", "swish", "gelu", "tanh", "linear"]),
    scaling=st.sampled_from([1.0, 4.0, -0.7, "learned", "channel"]),
    biased=st.booleans(),
)


def check_over(deltas: list[Delta], *, inputs: int | None = None, value: bool, seed: int) -> None:
    """Hold the form that trains to the paper's formula: its output and every gradient."""
    layer = FusionLayer(WIDTH, inputs, value=value).double()
    randomize(layer, seed, sigma=0.3)
    site, reads = reading(WIDTH, inputs=inputs, seed=seed), common_reads(deltas)
    trained = [*layer.parameters(), site.entered]
    if inputs is None:
        trained.append(site.output)
    for one in deltas:
        trained += one.requires_grad_(True).parameters()
    for tensor in trained:
        tensor.requires_grad_(True)
    weights = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(seed)).double()

    found = layer.over(deltas, site, reads)
    site._normed = None
    z = torch.stack([by_hand(one, site) for one in deltas], dim=-2)
    expected, _ = naive_fusion(layer, site.read(reads), z)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    # A tensor that a fusion of these parts does not read has no gradient in either.
    gradients, of_formula = (
        torch.autograd.grad((output * weights).sum(), trained, allow_unused=True)
        for output in (found, expected)
    )
    for one, other in zip(gradients, of_formula, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@settings(max_examples=30)
@given(st.lists(PARTS, min_size=1, max_size=5), st.booleans(), st.integers(0, 2**32))
def test_the_form_that_trains_equals_the_formula_and_so_do_all_its_gradients(
    parts: list[Part], value: bool, seed: int
) -> None:
    check_over([delta(part, WIDTH, seed=i) for i, part in enumerate(parts)], value=value, seed=seed)


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from([3, WIDTH, 13]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_so_it_does_over_lora_on_a_matrix_of_any_shape(
    ranks: list[int], inputs: int, biased: bool, value: bool, seed: int
) -> None:
    deltas = [
        delta(Part("lora", rank, "linear", 8 / rank, biased), WIDTH, inputs=inputs, seed=i)
        for i, rank in enumerate(ranks)
    ]
    check_over(deltas, inputs=inputs, value=value, seed=seed)


def test_the_form_that_trains_makes_no_tensor_for_every_adapter_and_output() -> None:
    deltas = [delta(Part(rank=1), WIDTH, seed=seed).requires_grad_(True) for seed in range(5)]
    layer, kept = FusionLayer(WIDTH).double(), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor.shape), tensor)[1], lambda tensor: tensor
    ):
        layer.over(deltas, reading(WIDTH), "norm")
    assert kept
    # Two rows of three tokens; five adapters of width eight.
    assert max(shape.numel() // 6 for shape in kept if shape[:2] == (2, 3)) < 5 * WIDTH


def test_the_bias_of_the_key_has_a_gradient_and_it_is_zero() -> None:
    layer, x, deltas = make(3, value=True)
    layer(x, deltas).delta.square().sum().backward()
    assert layer.key.bias.grad is not None
    assert layer.key.bias.grad.abs().max().item() < 1e-10
    assert layer.key.weight.grad is not None
    assert layer.key.weight.grad.abs().max().item() > 1e-3


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 2**32), st.floats(0.01, 30.0))
def test_attention_is_a_distribution_whatever_the_scores(
    count: int, seed: int, sigma: float
) -> None:
    layer, x, deltas = make(count, value=True, seed=seed)
    attention = layer.float()(sigma * x.float(), sigma * deltas.float()).attention
    assert bool((attention >= 0).all())
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3), rtol=0, atol=1e-6)


@settings(max_examples=30)
@given(st.permutations(range(4)), st.booleans(), st.integers(0, 2**32))
def test_permuting_adapters_permutes_the_attention_and_nothing_else(
    order: list[int], value: bool, seed: int
) -> None:
    layer, x, deltas = make(4, value=value, seed=seed)
    before, after = layer(x, deltas), layer(x, deltas[..., order, :])
    torch.testing.assert_close(after.attention, before.attention[..., order], rtol=0, atol=1e-12)
    torch.testing.assert_close(after.delta, before.delta, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_copies_of_one_delta_fuse_to_that_delta(count: int, seed: int) -> None:
    static, x, deltas = make(1, value=False, seed=seed)
    copies = deltas.expand(-1, -1, count, -1)
    torch.testing.assert_close(static(x, copies).delta, deltas[..., 0, :], rtol=0, atol=1e-12)
    torch.manual_seed(seed)
    dynamic = FusionLayer(WIDTH).double()
    torch.testing.assert_close(dynamic(x, copies).delta, deltas[..., 0, :], rtol=0, atol=2e-5)


def identical_scores_layer(dtype: torch.dtype) -> FusionLayer:
    """Its scores are ten times the inner product of query input and delta."""
    layer = FusionLayer(WIDTH, value=False).to(dtype)
    with torch.no_grad():
        layer.query.weight.copy_(10 * torch.eye(WIDTH))
        layer.key.weight.copy_(torch.eye(WIDTH))
    return layer


def test_scores_beyond_the_range_of_half_precision_do_not_overflow() -> None:
    x = torch.full((1, WIDTH), 30.0, dtype=torch.float16)
    fused = identical_scores_layer(torch.float16)(x, torch.stack([x, x], dim=-2))
    assert fused.delta.dtype == torch.float16
    assert torch.equal(fused.delta, x)
    assert fused.attention.tolist() == [[0.5, 0.5]]


def test_scores_keep_what_bfloat16_would_round_away() -> None:
    x = torch.full((1, WIDTH), 4.0, dtype=torch.bfloat16)
    nearly = x.clone()
    nearly[0, 0] = 4.03125  # the next number above
    attention = identical_scores_layer(torch.bfloat16)(
        x, torch.stack([x, nearly], dim=-2)
    ).attention
    # The scores are 1280 and 1281.25, which are the same number in bfloat16.
    assert attention[0, 1].item() == pytest.approx(torch.sigmoid(torch.tensor(1.25)).item())


def test_new_layers_start_near_a_weighted_sum() -> None:
    torch.manual_seed(0)
    layer = FusionLayer(128)
    assert layer.value is not None
    off_diagonal = layer.value.weight.detach() - torch.eye(128)
    torch.testing.assert_close(off_diagonal, 1e-6 * (1 - torch.eye(128)))
    for projection in (layer.query, layer.key):
        assert projection.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert not projection.bias.any()


def test_regularization_is_a_hundredth_of_the_squared_distance_to_the_identity() -> None:
    layer = FusionLayer(2)
    assert layer.value is not None
    with torch.no_grad():
        layer.value.weight.copy_(torch.tensor([[1.5, 2.0], [-1.0, 1.0]]))
    assert layer.regularization().item() == pytest.approx(0.01 * (0.25 + 4.0 + 1.0))
    layer.regularization().backward()
    torch.testing.assert_close(
        layer.value.weight.grad, 0.02 * torch.tensor([[0.5, 2.0], [-1.0, 0.0]])
    )


def test_a_static_layer_has_neither_values_nor_a_penalty() -> None:
    layer = FusionLayer(4, value=False)
    assert [name for name, _ in layer.named_parameters() if "value" in name] == []
    assert layer.regularization().item() == 0.0


def test_a_new_layer_draws_what_it_always_drew() -> None:
    torch.manual_seed(0)
    layer = FusionLayer(WIDTH)
    torch.manual_seed(0)
    query, key = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
    torch.nn.Linear(WIDTH, WIDTH, bias=False)
    for own, by_hand_drawn in ((layer.query, query), (layer.key, key)):
        assert torch.equal(own.weight, by_hand_drawn.weight.data.normal_(std=0.02))
    assert (layer.penalty, layer.temperature) == (0.01, 1.0)


def test_values_may_start_at_random_as_queries_do() -> None:
    torch.manual_seed(0)
    layer = FusionLayer(128, value_init="random")
    assert layer.value is not None
    assert layer.value.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert abs(layer.value.weight.mean().item()) < 1e-3


@pytest.mark.parametrize("temperature", [0.5, 3.0, 50.0])
def test_scores_are_divided_by_the_temperature_as_in_adapters(temperature: float) -> None:
    layer, x, deltas = make(3, value=True)
    layer.temperature = temperature
    q, k, v = (x @ layer.query.weight.T + layer.query.bias), layer.key(deltas), layer.value(deltas)  # type: ignore[misc]
    p = torch.softmax((q.unsqueeze(2) @ k.transpose(-2, -1)).squeeze(2) / temperature, dim=-1)
    expected = (p.unsqueeze(2) @ v).squeeze(2)
    fused = layer(x, deltas)
    torch.testing.assert_close(fused.attention, p, rtol=0, atol=1e-10)
    torch.testing.assert_close(fused.delta, expected, rtol=0, atol=1e-10)


def test_the_regulariser_may_count_otherwise_or_not_at_all() -> None:
    layer = FusionLayer(2, regularization=0.3, value_init="random")
    assert layer.value is not None
    distance = (torch.eye(2) - layer.value.weight).square().sum().item()
    assert layer.regularization().item() == pytest.approx(0.3 * distance)
    assert FusionLayer(2, regularization=0.0, value_init="random").regularization().item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value_init": "identiti"}, "starts at identity or random, not 'identiti'. Did you mean"),
        ({"regularization": -0.1}, "counts 0 or more, not -0.1"),
        ({"regularization": float("nan")}, "counts 0 or more, not nan"),
        ({"temperature": 0}, "is a number over 0, not 0"),
        ({"temperature": float("inf")}, "is a number over 0, not inf"),
        ({"temperature": True}, "is a number over 0, not True"),
    ],
)
def test_what_makes_no_fusion_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        FusionLayer(WIDTH, **options)
