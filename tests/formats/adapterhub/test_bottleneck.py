from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hubkit import Adapter
from hubkit.formats.adapterhub.bottleneck import reduction_factor
from hubkit.formats.folders import read_adapter
from hubkit.formats.tensor_files import read_tensors
from hubkit.methods.bottleneck import Bottleneck
from registry.errors import AdapterError
from tests.support.folders import (
    Tensors,
    edit_options,
    edit_tensors,
    options_in,
)
from tests.support.models import (
    REFERENCES,
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
        ({"inv_adapter": "nice"}, "inv_adapter_reduction_factor is None; expected a number above"),
        (
            {"inv_adapter": "nice", "inv_adapter_reduction_factor": 0.5},
            "a: adapter 'a', its invertible part: expected",
        ),
        ({"non_linearity": None}, "non_linearity is None; expected the name of a function"),
        ({"leave_out": 0}, "leave_out is 0; expected the numbers of layers, from 0, in a list"),
        ({"reduction_factor": "4"}, "reduction_factor is '4'; expected a number above 0"),
        ({"reduction_factor": {"1": 2, "default": 8}}, "the shape [8, 32], but adapter_config"),
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
    with pytest.raises(
        AdapterError, match=r"leave_out is \[0\], so that AdapterHub has no adapter"
    ):
        Adapter.load(folder)


def test_a_layer_below_the_first_leaves_out_none(folder: Path) -> None:
    whole = Adapter.load(folder)
    edit_options(folder, leave_out=[-1])
    adapter = Adapter.load(folder)
    assert (adapter.method, adapter.deltas.keys()) == (whole.method, whole.deltas.keys())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attn_matrices": ["q"]}, "attn_matrices is ['q']"),
        ({"attn_matrices": None}, "attn_matrices is None"),
        ({"selfattn_lora": False}, "selfattn_lora is False"),
    ],
)
def test_a_lora_at_a_layer_that_its_options_leave_out_is_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    folder = Path(shutil.copytree(REFERENCES / "distilbert" / "lora" / "a", tmp_path / "a"))
    edit_options(folder, **options)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    assert f"{said}, so that AdapterHub has no adapter at 'transformer.layer.0" in str(caught.value)


def test_an_invertible_part_may_be_wider_than_the_embeddings(tmp_path: Path) -> None:
    source = REFERENCES / "bert" / "seq_bn_inv" / "a"
    folder = Path(shutil.copytree(source, tmp_path / "a"))
    narrow: Any = Adapter.load(folder).method
    tensors = read_tensors(folder, "adapter.safetensors", "pytorch_adapter.bin")
    start = "invertible_adapters.a"
    owner = next(name for name in tensors if start in name).partition(start)[0] + start
    for network in "FG":
        tensors[f"{owner}.{network}.0.weight"] = torch.ones(32, 16)
        tensors[f"{owner}.{network}.0.bias"] = torch.ones(32)
        tensors[f"{owner}.{network}.2.weight"] = torch.ones(16, 32)
    save_file(tensors, folder / "adapter.safetensors")
    with pytest.raises(AdapterError, match=r"says \[8, 'any'\]"):
        Adapter.load(folder)
    edit_options(folder, inv_adapter_reduction_factor=0.5)
    adapter = Adapter.load(folder)
    assert adapter.method == replace(narrow, coupling_factor=0.5)
    assert adapter.coupling is not None
    assert adapter.coupling.F[0].out_features == 32


def test_options_of_a_lora_that_are_left_out_have_the_defaults_of_the_library(
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(REFERENCES / "distilbert" / "lora" / "a", tmp_path / "a"))
    method = Adapter.load(folder).method
    content = options_in(folder)
    assert content["config"]["alpha"] == 8
    for key in ("alpha", "attn_matrices", "selfattn_lora"):
        del content["config"][key]
    (folder / "adapter_config.json").write_text(json.dumps(content))
    assert Adapter.load(folder).method == method


def test_two_sizes_in_one_layer_are_refused(tmp_path: Path) -> None:
    source = REFERENCES / "distilbert" / "double_seq_bn" / "a"
    folder = Path(shutil.copytree(source, tmp_path / "a"))

    def widen(tensors: Tensors) -> None:
        site = "transformer.layer.0.output_adapters.adapters.a"
        tensors[f"{site}.adapter_down.0.weight"] = torch.ones(9, 32)
        tensors[f"{site}.adapter_down.0.bias"] = torch.ones(9)
        tensors[f"{site}.adapter_up.weight"] = torch.ones(32, 9)

    edit_tensors(folder, widen)
    edit_options(folder, reduction_factor={"0": 4, "default": 3.5})
    with pytest.raises(AdapterError, match=r"bottleneck sizes 8 and 9 in transformer\.layer\.0"):
        Adapter.load(folder)
