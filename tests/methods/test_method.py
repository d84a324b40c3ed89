from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.methods.bottleneck import ROWS
from hubkit.methods.sites import BlockSite, LinearSite
from hubkit.methods.table import METHODS, new_method
from registry.errors import AdapterError
from tests.methods.hosts import host

SIZES = st.integers(1, 64)
BOTTLENECKS = st.fixed_dictionaries(
    {},
    optional={
        "bottleneck_size": st.integers(1, 64)
        | st.lists(st.integers(1, 64), min_size=2, max_size=2),
        "activation": st.sampled_from(["relu", "gelu", "linear"]),
        "scaling": st.floats(-100, 100) | st.sampled_from(["learned", "channel"]),
        "dropout": st.floats(0, 1, exclude_max=True),
        "leave_out": st.lists(st.integers(0, 1), max_size=1),
        "coupling_factor": st.floats(1, 10),
    },
)
LORAS = st.fixed_dictionaries(
    {},
    optional={
        "rank": st.integers(1, 64),
        "alpha": st.floats(-100, 100),
        "use_rslora": st.booleans(),
        "target_modules": st.sampled_from([["query"], ("query", "dense"), ".*key", "all-linear"]),
        "rank_pattern": st.sampled_from([{}, {"query": 3}]),
        "alpha_pattern": st.sampled_from([{}, {"query": 3.5}]),
        "bias": st.booleans(),
        "dropout": st.floats(0, 1, exclude_max=True),
        "leave_out": st.lists(st.integers(0, 1), max_size=1),
    },
)


@settings(max_examples=80)
@given(st.sampled_from([*METHODS]), st.data())
def test_a_method_comes_back_from_the_parameters_in_its_manifest(
    type: str, data: st.DataObject
) -> None:
    method = new_method(type, host(), **data.draw(LORAS if type == "lora" else BOTTLENECKS))
    stored = json.loads(json.dumps(method.parameters))
    assert METHODS[type](type=type, **stored) == method
    shapes = method.shapes(host())
    assert METHODS[type](type=type, **stored).shapes(host()) == shapes
    for site, shape in shapes.items():
        assert method.form(site, shape.rank).dropout == method.dropout


@pytest.mark.parametrize("type", METHODS)
def test_what_is_at_its_default_is_not_stored(type: str) -> None:
    always = {"target_modules"} if type == "lora" else {"bottleneck_size", "activation", "scaling"}
    assert set(new_method(type, host()).parameters) == always
    more = new_method(type, host(), dropout=0.5, leave_out=[1])
    assert set(more.parameters) == {*always, "dropout", "leave_out"}
    assert more.parameters["leave_out"] == [1]


@pytest.mark.parametrize("type", METHODS)
def test_none_stands_for_the_default(type: str) -> None:
    nothing: dict[str, Any] = {"dropout": None, "leave_out": None}
    nothing |= {"rank": None} if type == "lora" else {"bottleneck_size": None, "scaling": None}
    assert new_method(type, host(), **nothing) == new_method(type, host())


@pytest.mark.parametrize("type", METHODS)
def test_layers_that_are_left_out_have_no_deltas(type: str) -> None:
    base = host(layers=4)
    method = new_method(type, base, leave_out=[3, 0, 3])
    assert method.leave_out == (0, 3)
    assert method.kept_layers(base) == ["encoder.layer.1", "encoder.layer.2"]
    whole = new_method(type, base).shapes(base)
    assert method.shapes(base) == {
        site: shape for site, shape in whole.items() if str(site).split(".")[2] in "12"
    }


def test_the_layers_of_a_decoder_are_counted_after_those_of_the_encoder() -> None:
    method = new_method("seq_bn", host("t5"), leave_out=[0, 1])
    assert list(method.shapes(host("t5"))) == [BlockSite("decoder.block.0", "feed_forward")]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout must be a number from 0 to below 1, not -0.1"),
        ({"dropout": "0.1"}, "dropout must be a number from 0 to below 1, not '0.1'"),
        ({"dropout": float("nan")}, "dropout must be a number from 0 to below 1, not nan"),
        ({"dropout": True}, "dropout must be a number from 0 to below 1, not True"),
        ({"dropout": 10**400}, "dropout must be a number from 0 to below 1, not 1000"),
        (
            {"leave_out": [2]},
            r"Layer 2 is to be left out \(leave_out\), but the base model has 2 layers",
        ),
        ({"leave_out": [-1]}, r"leave_out takes the numbers of layers, from 0, not \[-1\]"),
        ({"leave_out": "0"}, "leave_out takes the numbers of layers, from 0, not '0'"),
        ({"leave_out": [0.0]}, r"leave_out takes the numbers of layers, from 0, not \[0.0\]"),
        ({"leave_out": 1}, "leave_out takes the numbers of layers, from 0, not 1"),
        ({"drop": 0.1}, "has no parameter 'drop'; it has .*dropout"),
    ],
)
@pytest.mark.parametrize("type", ["seq_bn", "lora"])
def test_a_bad_parameter_of_any_method_is_named(
    type: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdapterError, match=message):
        new_method(type, host(), **parameters)


def test_an_unknown_method_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(AdapterError, match="Unknown method 'prefix'; hubkit composes seq_bn, doub"):
        new_method("prefix", host())
    with pytest.raises(AdapterError, match=r"Unknown method 'seq_bm'.*seq_bn"):
        new_method("seq_bm", host())
    assert set(METHODS) == {*ROWS, "lora"}


def test_sites_are_called_by_their_paths() -> None:
    assert str(BlockSite("encoder.layer.0", "attention")) == "encoder.layer.0.attention"
    assert str(LinearSite("h.0.attn.c_attn")) == "h.0.attn.c_attn"
