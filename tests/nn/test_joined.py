from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hubkit.nn.delta import Delta
from hubkit.nn.joined import JoinedDeltas
from hubkit.nn.nodes import Reading
from tests.nn.samples import Part, by_hand, delta, reading

PARTS = st.builds(
    Part,
    method=st.sampled_from(["seq_bn", "double_seq_bn", "par_bn"]),
    rank=st.integers(1, 5),
    activation=st.sampled_from(["relu", "swish", "gelu", "tanh", "linear"]),
    scaling=st.sampled_from([1.0, -0.7, "learned", "channel"]),
    biased=st.booleans(),
)


def made(parts: list[Part], *, inputs: int | None = None) -> list[Delta]:
    return [delta(part, inputs=inputs, seed=seed) for seed, part in enumerate(parts)]


def weighted_sum(joined: JoinedDeltas, site: Reading, weights: Tensor) -> Tensor:
    """``A [p_n a_n, p_n]``, as the module's docstring writes it; weights in the joined order."""
    bottlenecks = joined.bottlenecks(site)
    columns = [
        p * a for p, a in zip(weights, torch.split(bottlenecks, joined.widths, dim=-1), strict=True)
    ]
    if joined.has_constants:
        columns.append(weights.expand(*bottlenecks.shape[:-1], -1))
    return torch.cat(columns, dim=-1) @ joined.matrix.T


@settings(max_examples=40)
@given(st.lists(PARTS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_one_matrix_makes_any_weighted_sum_of_the_deltas(parts: list[Part], seed: int) -> None:
    deltas, site = made(parts), reading(seed=seed)
    weights = torch.randn(len(parts), generator=torch.Generator().manual_seed(seed)).double()
    joined = JoinedDeltas(deltas, "norm")
    assert sorted(joined.positions) == list(range(len(parts)))
    assert joined.widths == [parts[position].rank for position in joined.positions]
    expected = sum(p * by_hand(one, site) for p, one in zip(weights, deltas, strict=True))
    found = weighted_sum(joined, site, weights[joined.positions])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@settings(max_examples=40)
@given(st.lists(PARTS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_attention_is_the_softmax_of_inner_products_with_the_deltas(
    parts: list[Part], seed: int
) -> None:
    deltas, site = made(parts), reading(seed=seed)
    joined = JoinedDeltas(deltas, "norm")
    q = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(seed)).double()
    weights, attention = joined.attend(joined.bottlenecks(site), q @ joined.matrix, 0.5)

    values = torch.stack([by_hand(deltas[n], site) for n in joined.positions], dim=-2)
    expected = torch.softmax(torch.einsum("btd,btnd->btn", q, values), dim=-1)
    torch.testing.assert_close(attention, expected, rtol=0, atol=1e-10)
    mixed = torch.einsum("btn,btnd->btd", expected, values)
    torch.testing.assert_close(weights @ joined.matrix.T, mixed, rtol=0, atol=1e-10)


def test_deltas_of_one_input_and_one_activation_stand_together() -> None:
    parts = [
        Part("seq_bn", 2, "relu"),
        Part("par_bn", 1, "relu"),
        Part("seq_bn", 3, "tanh"),
        Part("seq_bn", 4, "relu"),
    ]
    joined = JoinedDeltas(made(parts), "norm")
    # What the query reads comes first, so that its down-projection can be one with the query's.
    assert [key for key, *_ in joined.downs] == ["norm", "residual"]
    assert sorted(joined._group_widths) == [1, 3, 6]
    assert joined.downs[0][1].shape == (9, 8)
    assert joined.matrix.shape == (8, 10 + 4)
    assert next(key for key, *_ in JoinedDeltas(made(parts), "residual").downs) == "residual"


def test_without_biases_no_columns_stand_for_them() -> None:
    loras = made([Part("lora", 2, "linear", 0.5, False), Part("lora", 3, "linear", 2.0, False)])
    joined = JoinedDeltas(loras, "input")
    assert not joined.has_constants
    assert joined.matrix.shape == (8, 5)
    assert joined.downs[0][2] is None
    expected = torch.cat([0.5 * loras[0].up, 2.0 * loras[1].up], dim=1)
    torch.testing.assert_close(joined.matrix, expected, rtol=0, atol=0)


def test_a_down_projection_that_is_known_is_not_made_again() -> None:
    joined, site = JoinedDeltas(made([Part(), Part("par_bn", 2)]), "norm"), reading()
    _, down, bias = joined.downs[0]
    own = torch.nn.functional.linear(site.read("norm"), down, bias)
    expected = joined.bottlenecks(site)
    # Only what the others read is read once more.
    site.output = torch.full_like(site.output, torch.nan)
    site._normed = None
    torch.testing.assert_close(joined.bottlenecks(site, own), expected, rtol=0, atol=0)


def test_gradients_reach_every_weight_of_every_delta() -> None:
    deltas = made([Part(rank=2, scaling="channel"), Part(rank=4, activation="gelu")])
    for one in deltas:
        one.requires_grad_(True)
    weights = [weight for one in deltas for weight in one.parameters()]
    site, numbers = reading(), torch.tensor([0.3, -1.2], dtype=torch.double)
    joined = JoinedDeltas(deltas, "norm")
    found = weighted_sum(joined, site, numbers[joined.positions]).square().sum()
    expected = sum(p * by_hand(one, site) for p, one in zip(numbers, deltas, strict=True))
    for one, other in zip(
        torch.autograd.grad(found, weights),
        torch.autograd.grad(expected.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
