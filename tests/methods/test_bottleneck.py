from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit import Adapter
from hubkit.methods.bottleneck import ROWS, Bottleneck
from hubkit.methods.method import CouplingForm, DeltaForm, DeltaShape
from hubkit.methods.sites import BlockSite
from hubkit.methods.table import new_method
from registry.errors import AdapterError
from tests.methods.hosts import host
from tests.support.models import tiny_model

BOTH = ("attention", "feed_forward")


@pytest.mark.parametrize(
    ("type", "places", "reads", "activation", "scaling", "factor"),
    [
        ("seq_bn", ("feed_forward",), "norm", "relu", 1.0, 16),
        ("double_seq_bn", BOTH, "output", "swish", 1.0, 16),
        ("par_bn", ("feed_forward",), "residual", "relu", 4.0, 2),
        ("seq_bn_inv", ("feed_forward",), "norm", "relu", 1.0, 16),
        ("double_seq_bn_inv", BOTH, "output", "swish", 1.0, 16),
    ],
)
def test_the_defaults_are_the_published_ones(
    type: str, places: Any, reads: Any, activation: str, scaling: float, factor: int
) -> None:
    base = host(layers=3, hidden_size=768)
    method = new_method(type, base)
    layers = [f"encoder.layer.{number}" for number in range(3)]
    size = 768 // factor
    assert method.shapes(base) == {
        BlockSite(layer, place): DeltaShape(768, size, 768) for layer in layers for place in places
    }
    assert method.form(BlockSite(layers[0], "feed_forward"), size) == DeltaForm(
        reads=reads,
        activation=activation,
        down_bias=True,
        up_bias=True,
        scaling=scaling,
        dropout=0.0,
        starts_at_zero=False,
        chained=False,
    )
    inverted = CouplingForm(activation, 2) if type.endswith("_inv") else None
    assert method.coupling() == inverted


def sizes(
    type: str = "seq_bn", *, layers: int = 4, width: int = 64, **parameters: Any
) -> list[int]:
    base = host(layers=layers, hidden_size=width)
    return [shape.rank for shape in new_method(type, base, **parameters).shapes(base).values()]


@settings(max_examples=40)
@given(st.integers(1, 100), st.integers(1, 32))
def test_the_size_is_the_width_over_the_reduction_factor_and_at_least_one(
    factor: int, half: int
) -> None:
    expected = [max(1, 2 * half // factor)]
    assert sizes(layers=1, width=2 * half, reduction_factor=factor) == expected
    assert sizes(layers=1, width=2 * half, reduction_factor=float(factor)) == expected


def test_a_reduction_factor_may_be_a_fraction() -> None:
    assert sizes(layers=1, reduction_factor=0.5) == [128]
    assert sizes(layers=1, reduction_factor=2.5) == [25]
    assert sizes(layers=1, reduction_factor=1000) == [1]


def test_sizes_are_one_number_or_one_for_each_layer_or_some_by_number() -> None:
    assert sizes(bottleneck_size=3) == [3] * 4
    assert sizes(bottleneck_size=[5, 6, 7, 8]) == [5, 6, 7, 8]
    # The default for the others is the published one: 64 over 16.
    assert sizes(bottleneck_size={1: 9, 3: 2}) == [4, 9, 4, 2]
    assert sizes(reduction_factor=8) == [8] * 4
    assert sizes(reduction_factor=[2, 4, 8, 64]) == [32, 16, 8, 1]
    assert sizes(reduction_factor={0: 1}) == [64, 4, 4, 4]
    assert sizes("double_seq_bn", layers=2, bottleneck_size=[5, 6]) == [5, 5, 6, 6]
    assert sizes("par_bn", layers=2) == [32, 32]


def test_layers_that_are_left_out_keep_their_place_in_a_list() -> None:
    assert sizes(bottleneck_size=[5, 6, 7, 8], leave_out=[0, 2]) == [6, 8]
    base = host(layers=3)
    method = new_method("seq_bn", base, bottleneck_size={1: 3}, leave_out=[0])
    assert method.parameters["bottleneck_size"] == {"encoder.layer.1": 3, "encoder.layer.2": 1}
    # One size for all that are left is stored as one number.
    alike = new_method("seq_bn", base, bottleneck_size=[7, 3, 3], leave_out=[0])
    assert alike.parameters["bottleneck_size"] == 3


def test_an_adapter_without_any_layer_is_refused() -> None:
    with pytest.raises(AdapterError, match="All 2 layers of the base model are to be left out"):
        new_method("seq_bn", host(), leave_out=[0, 1])


@pytest.mark.parametrize("scaling", ["learned", "channel", -2.5, 0])
def test_the_factor_is_a_number_or_learned(scaling: Any) -> None:
    method = new_method("par_bn", host(), scaling=scaling)
    assert method.form(BlockSite("encoder.layer.0", "feed_forward"), 8).scaling == scaling


def test_the_coupling_has_its_own_factor() -> None:
    method = new_method("seq_bn_inv", host(), activation="gelu", coupling_factor=4)
    assert method.coupling() == CouplingForm("gelu", 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bottleneck_size": 0}, "bottleneck_size must be a whole number from 1 to 65536, not 0"),
        ({"bottleneck_size": 2.5}, "bottleneck_size must be a whole number from 1 to 65536, not 2"),
        ({"bottleneck_size": 65537}, "a whole number from 1 to 65536, not 65537"),
        ({"bottleneck_size": "8"}, "bottleneck_size"),
        (
            {"bottleneck_size": True},
            "a whole number from 1 to 65536, not True",
        ),
        ({"bottleneck_size": [4]}, "bottleneck_size has 1 numbers; the base model has 2 layers"),
        (
            {"bottleneck_size": [4, None]},
            "a whole number from 1 to 65536, not None",
        ),
        ({"bottleneck_size": {2: 4}}, "bottleneck_size is given for the layer 2; .* from 0 to 1"),
        ({"bottleneck_size": {"0": 4}}, "bottleneck_size is given for the layer '0'"),
        ({"bottleneck_size": object()}, "bottleneck_size"),
        ({"reduction_factor": 0}, "reduction_factor must be a number from 1e-06, not 0"),
        ({"reduction_factor": -4}, "reduction_factor must be a number from 1e-06, not -4"),
        ({"reduction_factor": float("inf")}, "reduction_factor must be a number from 1e-06, not i"),
        ({"reduction_factor": 1e-5}, "bottleneck_size must be a whole number from 1 to 65536, not"),
        ({"reduction_factor": 10**400}, "reduction_factor must be a number from 1e-06, not 1000"),
        ({"bottleneck_size": 4, "reduction_factor": 4}, "bottleneck_size or reduction_factor, not"),
        ({"scaling": "fast"}, "scaling must be a number, 'learned' or 'channel', not 'fast'"),
        ({"scaling": float("inf")}, "scaling must be a number that is finite, not inf"),
        ({"scaling": [4.0]}, r"scaling must be a number that is finite, not \[4.0\]"),
        ({"coupling_factor": 0}, "coupling_factor must be a number from 1e-06, not 0"),
        ({"rank": 4}, "The method seq_bn has no parameter 'rank'; it has bottleneck_size, reduct"),
        ({"botleneck_size": 4}, "no parameter 'botleneck_size'.*bottleneck_size"),
    ],
)
def test_a_bad_parameter_is_named_with_what_was_expected(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdapterError, match=message):
        new_method("seq_bn", host(), **parameters)


def test_sizes_by_layer_have_to_be_those_of_the_base_model() -> None:
    method = Bottleneck(
        type="seq_bn",
        bottleneck_size={"encoder.layer.0": 4, "encoder.layer.7": 4},
        activation="relu",
        scaling=1.0,
    )
    with pytest.raises(AdapterError, match=r"given for encoder.layer.0, encoder.layer.7; the lay"):
        method.shapes(host())


def test_an_unknown_activation_is_refused_when_the_adapter_is_made() -> None:
    model = tiny_model()
    method = new_method("seq_bn", host(), activation="prelu")
    with pytest.raises(AdapterError, match="Unknown activation 'prelu'"):
        Adapter.create(model, "a", method)


def test_every_row_is_a_method() -> None:
    for type in ROWS:
        assert new_method(type, host()).type == type
