from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubkit import Adapter, attach
from hubkit.formats.adapterhub.config import reduction_factor
from hubkit.formats.folders import read_adapter
from hubkit.methods.bottleneck import Bottleneck
from registry.errors import AdapterError, HubkitError
from tests.support.folders import (
    Tensors,
    edit_options,
    edit_tensors,
    options_in,
)
from tests.support.models import (
    REFERENCES,
    reference_base,
)

SEQ_BN = Bottleneck(type="seq_bn", bottleneck_size=8, activation="relu", scaling=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = REFERENCES / "distilbert" / "seq_bn" / "a"
    return Path(shutil.copytree(source, tmp_path / "a"))


@given(st.integers(1, 1024).flatmap(lambda d: st.tuples(st.just(d), st.integers(1, d))))
def test_the_library_gets_the_bottleneck_size_back_from_the_reduction_factor(
    sizes: tuple[int, int],
) -> None:
    hidden, bottleneck = sizes
    factor = reduction_factor(hidden, bottleneck)
    assert int(hidden // factor) == bottleneck
    assert factor == pytest.approx(hidden / bottleneck)


def test_the_reduction_factor_holds_for_the_usual_widths_and_all_sizes() -> None:
    for hidden in (32, 384, 768, 1000, 1024):
        for bottleneck in range(1, hidden + 1):
            assert int(hidden // reduction_factor(hidden, bottleneck)) == bottleneck


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_gating", True),
        ("phm_layer", True),
        ("ln_after", True),
        ("ln_before", True),
        ("residual_before_ln", False),
        ("original_ln_after", False),
        ("cross_adapter", True),
    ],
)
def test_an_option_that_changes_the_numbers_is_refused_by_name(
    folder: Path, option: str, value: Any
) -> None:
    edit_options(folder, **{option: value})
    with pytest.raises(AdapterError, match=f"the option {option} is {value!r}".replace("[", r"\[")):
        Adapter.load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "wild"}, "scaling is 'wild'; expected a number, 'learned' or 'channel'"),
        ({"scaling": "learned"}, "'scale': (1,)"),
        ({"inv_adapter": "glow"}, "the option inv_adapter is 'glow', which changes"),
        ({"inv_adapter": "nice"}, "a: adapter 'a', its invertible part: expected"),
        (
            {"non_linearity": "wavy"},
            "adapter_config.json: non_linearity is 'wavy'; hubkit computes gelu",
        ),
        (
            {"mh_adapter": True, "output_adapter": False},
            "at no place that hubkit knows (mh_adapter True, output_adapter False",
        ),
        ({"original_ln_before": False}, "is_parallel False, original_ln_before False"),
        ({"is_parallel": True, "mh_adapter": True}, "is_parallel True, original_ln_before False"),
    ],
)
def test_a_configuration_that_is_no_known_method_is_refused(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    edit_options(folder, **options)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    assert message in str(caught.value)


def test_options_that_are_left_out_have_the_defaults_of_the_library(folder: Path) -> None:
    content = options_in(folder)
    kept = ("mh_adapter", "output_adapter", "original_ln_before", "non_linearity")
    content["config"] = {key: content["config"][key] for key in (*kept, "reduction_factor")}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    assert Adapter.load(folder).method == SEQ_BN


def test_a_configuration_can_be_the_name_of_a_method(folder: Path) -> None:
    content = options_in(folder) | {"config": "seq_bn"}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    assert read_adapter(folder).method == SEQ_BN
    (folder / "adapter_config.json").write_text(json.dumps(content | {"config": "prefix_tuning"}))
    with pytest.raises(AdapterError, match="its method is prefix_tuning"):
        read_adapter(folder)


@pytest.mark.parametrize("architecture", ["prefix_tuning", "ia3", "prompt_tuning", "reft", "union"])
def test_a_method_that_hubkit_does_not_compose_is_named(folder: Path, architecture: str) -> None:
    edit_options(folder, architecture=architecture)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    assert str(folder) in str(caught.value)


def test_a_configuration_of_no_library_is_refused(folder: Path) -> None:
    content = options_in(folder)
    del content["config"]
    (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(
        AdapterError, match=r"neither of PEFT, .* nor of AdapterHub, with a 'config'"
    ):
        Adapter.load(folder)


def test_a_layer_that_is_left_out_and_has_tensors_is_refused(folder: Path) -> None:
    edit_options(folder, leave_out=[0])
    model = reference_base("distilbert")
    with pytest.raises(HubkitError, match="sites"):
        attach(model, Adapter.load(folder))


def test_two_sizes_in_one_layer_are_refused(tmp_path: Path) -> None:
    source = REFERENCES / "distilbert" / "double_seq_bn" / "a"
    folder = Path(shutil.copytree(source, tmp_path / "a"))

    def widen(tensors: Tensors) -> None:
        site = "transformer.layer.0.output_adapters.adapters.a"
        tensors[f"{site}.adapter_down.0.weight"] = torch.ones(9, 32)
        tensors[f"{site}.adapter_down.0.bias"] = torch.ones(9)
        tensors[f"{site}.adapter_up.weight"] = torch.ones(32, 9)

    edit_tensors(folder, widen)
    with pytest.raises(AdapterError, match=r"bottleneck sizes 8 and 9 in transformer\.layer\.0"):
        Adapter.load(folder)
