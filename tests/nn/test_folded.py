from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit import Adapter, Fusion, attach
from hubkit.nn.delta import ACTIVATIONS
from hubkit.nn.folded import Folded
from tests.nn.samples import (
    Part,
    by_hand,
    folded,
    fusion,
    is_folded,
    naive_fusion,
    plain,
    reading,
)
from tests.support.models import (
    ARCHITECTURES,
    METHODS,
    REFERENCES,
    reference_base,
    reference_outputs,
    run,
)

THREE = [
    Part("seq_bn", 2, "relu", 1.0),
    Part("seq_bn", 5, "swish", "learned"),
    Part("seq_bn", 1, "relu", "channel"),
]
PARTS = st.builds(
    Part,
    method=st.sampled_from(METHODS),
    rank=st.integers(1, 5),
    activation=st.sampled_from(["relu", "swish", "gelu", "tanh", "leakyrelu", "linear"]),
    scaling=st.sampled_from([1.0, 4.0, -0.7, 0.0, "learned", "channel"]),
    biased=st.booleans(),
)


@settings(max_examples=25)
@given(st.data(), st.integers(1, 6), st.integers(11, 24), st.booleans(), st.integers(0, 2**32))
def test_folded_equals_plain(
    data: st.DataObject, count: int, width: int, value: bool, seed: int
) -> None:
    parts = data.draw(st.lists(PARTS, min_size=count, max_size=count))
    if data.draw(st.booleans(), "one method, as most fusions have"):
        parts = [part._replace(method=parts[0].method) for part in parts]
    node = fusion(parts, width, value=value, seed=seed, sigma=0.3)
    site = reading(width, seed=seed)
    assert is_folded(node)
    exact = plain(node, site)
    torch.testing.assert_close(node(site)[1], exact, rtol=0, atol=1e-10)

    single = reading(width, seed=seed, dtype=torch.float32)
    found = node.float()(single)[1]
    assert is_folded(node)
    assert found.dtype == torch.float32
    largest = exact.abs().max().item()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4 * max(largest, 1.0))


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from([5, 11, 16]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_folded_lora_equals_the_formula_on_a_matrix_of_any_shape(
    ranks: list[int], inputs: int, biased: bool, value: bool, seed: int
) -> None:
    parts = [Part("lora", rank, "linear", 8 / rank, biased) for rank in ranks]
    node = fusion(parts, 11, inputs=inputs, value=value, seed=seed, sigma=0.3)
    site = reading(11, inputs=inputs, seed=seed)
    assert is_folded(node)
    z = torch.stack([by_hand(branch, site) for branch in node.branches], dim=-2)  # type: ignore[arg-type]
    expected, _ = naive_fusion(node.layer, site.entered, z)
    torch.testing.assert_close(node(site)[1], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_folds_alone_and_beside_another(activation: str) -> None:
    parts = [
        Part("seq_bn", 3, activation),
        Part("seq_bn", 2, "relu", 2.0),
        Part("seq_bn", 4, activation, -1.0),
    ]
    node, site = fusion(parts), reading()
    assert is_folded(node)
    torch.testing.assert_close(node(site)[1], plain(node, site), rtol=0, atol=1e-10)


def test_one_product_makes_the_bottlenecks_and_what_they_are_asked() -> None:
    form = folded(fusion(THREE))
    assert isinstance(form, Folded)
    assert form._rows.shape == (2 * 8 + 3, 8)
    assert form._value.shape == (8, 8 + 3)
    without_biases = folded(fusion([part._replace(biased=False) for part in THREE]))
    assert isinstance(without_biases, Folded)
    assert without_biases._rows.shape == (2 * 8, 8)
    assert without_biases._value.shape == (8, 8)


def test_bfloat16_is_as_near_to_the_truth_as_the_fusion_layer() -> None:
    node, site = fusion(THREE, 32, sigma=0.2), reading(32)
    truth = plain(node, site)
    half, rounded = node.bfloat16(), reading(32, dtype=torch.bfloat16)
    assert is_folded(half)
    found = half(rounded)[1]
    assert found.dtype == torch.bfloat16
    error, of_plain = (found - truth).abs().mean(), (plain(half, rounded) - truth).abs().mean()
    assert error.item() < 1.5 * of_plain.item()


def test_scores_far_beyond_the_range_of_an_exponential_stay_finite() -> None:
    node, site = fusion(THREE, sigma=30.0), reading()
    assert is_folded(node)
    exact = plain(node, site)
    assert bool(exact.isfinite().all())
    torch.testing.assert_close(node(site)[1], exact, rtol=1e-8, atol=1e-8)


def reference_fusions() -> Iterator[object]:
    for architecture in ARCHITECTURES:
        for method in METHODS:
            for name, adapters in (("fusion_abc", "abc"), ("fusion_ab_static", "ab")):
                yield pytest.param(architecture, method, name, adapters)


@pytest.mark.parametrize(("architecture", "method", "name", "adapters"), [*reference_fusions()])
def test_folded_fusions_equal_those_of_the_reference_library(
    architecture: str, method: str, name: str, adapters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Folded] = []
    call = Folded.__call__
    monkeypatch.setattr(
        Folded, "__call__", lambda self, inputs: (calls.append(self), call(self, inputs))[1]
    )
    folder = REFERENCES / architecture / method
    inputs, expected = reference_outputs(folder)
    model = reference_base(architecture)
    fused = Fusion.load(folder / name, [Adapter.load(folder / one) for one in adapters])
    with attach(model, fused):
        found = run(model, inputs)
    assert len(calls) == len(fused.layers)
    case = "fuse_dynamic" if name == "fusion_abc" else "fuse_static"
    torch.testing.assert_close(found, expected[case], rtol=0, atol=1e-5)
