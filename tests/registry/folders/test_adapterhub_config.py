from pathlib import Path
from typing import Any

import pytest

from registry.errors import FolderError
from registry.folders import Folder, read_folder
from tests.registry.folders.conftest import BASE, SEQ, adapterhub, bottleneck, lines


def method_of(folder: Folder) -> tuple[str, Any]:
    method = folder.manifest.method
    return method.type, method.parameters.get("activation")


@pytest.mark.parametrize(
    ("activation", "version", "meant"),
    [
        ("gelu", None, "gelu_new"),
        ("gelu_orig", None, "gelu"),
        ("relu", None, "relu"),
        ("gelu", "2.3.0", "gelu"),
        ("gelu", "adapters.1.3.0", "gelu"),
    ],
)
def test_activations_are_those_of_the_release_that_wrote_the_file(
    tmp_path: Path, activation: str, version: str | None, meant: str
) -> None:
    fields = {} if version is None else {"version": version}
    folder = adapterhub(tmp_path / "a", {**SEQ, "non_linearity": activation}, **fields)
    assert method_of(read_folder(folder, BASE)) == ("seq_bn", meant)


@pytest.mark.parametrize("owner", ["layer_text_task_adapters", "layer_text_lang_adapters"])
def test_the_names_and_options_of_version_1_are_read(tmp_path: Path, owner: str) -> None:
    nested = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
    options = {**SEQ, "invertible_adapter": nested, "LN_before": False, "attention_type": "x"}
    options["MH_Adapter"] = options.pop("mh_adapter")
    options["Output_Adapter"] = options.pop("output_adapter")
    coupling = {
        f"bert.invertible_lang_adapters.x.{net}.{layer}.{kind}": shape
        for net in "FG"
        for layer, shapes in ((0, ((2, 4), (2,))), (2, ((4, 2), (4,))))
        for kind, shape in zip(("weight", "bias"), shapes, strict=True)
    }
    language = adapterhub(
        tmp_path / "a", options, bottleneck(owner=owner) | coupling, type="text_lang"
    )
    assert method_of(read_folder(language, BASE))[0] == "seq_bn_inv"
    # A task's adapter of version 1 names an invertible part, and has none.
    task = adapterhub(tmp_path / "b", options, bottleneck(owner=owner), type="text_task")
    assert method_of(read_folder(task, BASE))[0] == "seq_bn"


@pytest.mark.parametrize(
    ("name", "method", "scaling"),
    [
        ("pfeiffer", "seq_bn", None),
        ("parallel", "par_bn", 4.0),
        ("scaled_parallel", "par_bn", "learned"),
        ("compacter++", "compacter", None),
        ("prefix_tuning", "prefix_tuning", None),
        ("prefix_tuning|parallel", "union", None),
    ],
)
def test_a_configuration_may_be_only_its_name(
    tmp_path: Path, name: str, method: str, scaling: Any
) -> None:
    found = read_folder(adapterhub(tmp_path / "a", name), BASE).manifest.method
    assert (found.type, found.parameters.get("scaling")) == (method, scaling)


def test_a_name_of_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"config is 'pfeifer'.*Did you mean pfeiffer"):
        read_folder(adapterhub(tmp_path / "a", "pfeifer"), BASE)


@pytest.mark.parametrize(
    ("config", "method", "told"),
    [
        ({**SEQ, "use_gating": True}, "bottleneck", "the option use_gating is True"),
        ({**SEQ, "inv_adapter": "glow"}, "bottleneck_inv", "the option inv_adapter is 'glow'"),
        ({**SEQ, "mh_adapter": True}, "bottleneck", "at no place that hubkit knows"),
        ({"architecture": "mtl_lora", "r": 2}, "mtl_lora", "its method is mtl_lora"),
        ({"architecture": "lora", "r": 2, "use_dora": True}, "dora", "the option use_dora is True"),
        ({"architecture": "lora", "r": 2, "vera_d": 0.1, "vera_b": 0.0}, "vera", "vera_d is 0.1"),
        ({"architecture": "lora", "r": 2, "vera_b": 0.0}, "vera", "vera_b is 0.0"),
        ({"architecture": "prompt_tuning"}, "prompt_tuning", "its method is prompt_tuning"),
    ],
)
def test_what_hubkit_keeps_is_told_by_its_option_or_method(
    tmp_path: Path, config: dict[str, Any], method: str, told: str
) -> None:
    shapes = {"bert.encoder.layer.0.x.loras.x.lora_B": (1, 8, 2)} if "r" in config else None
    read = read_folder(adapterhub(tmp_path / "a", config, shapes), BASE)
    assert read.manifest.method.type == method
    assert "Kept, not attached by hubkit: " in lines(read)
    assert told in lines(read)


@pytest.mark.parametrize(
    "option", [{"adapter_residual_before_ln": True}, {"stochastic_depth": 0.1}, {"phm_dim": 8}]
)
def test_an_option_without_effect_here_hinders_nothing(
    tmp_path: Path, option: dict[str, Any]
) -> None:
    read = read_folder(adapterhub(tmp_path / "a", {**SEQ, **option}, version="3.0.0"), BASE)
    assert read.manifest.method.type == "seq_bn"
    assert "attached" not in lines(read)


def test_an_option_that_no_release_has_is_noted(tmp_path: Path) -> None:
    read = read_folder(adapterhub(tmp_path / "a", {**SEQ, "use_magic": True}), BASE)
    assert "the option 'use_magic', which no known release of AdapterHub has" in lines(read)


def test_a_parallel_adapter_with_an_invertible_part_is_kept(tmp_path: Path) -> None:
    options = {**SEQ, "original_ln_before": False, "is_parallel": True, "inv_adapter": "nice"}
    read = read_folder(adapterhub(tmp_path / "a", options), BASE)
    assert read.manifest.method.type == "bottleneck_inv"
    assert "Kept, not attached by hubkit: is_parallel and inv_adapter are on together" in lines(
        read
    )


def test_the_networks_of_an_invertible_part_are_in_no_layer(tmp_path: Path) -> None:
    coupling = {
        f"bert.invertible_adapters.x.{net}.{layer}.{kind}": shape
        for net in "FG"
        for layer, shapes in ((0, ((2, 4), (2,))), (2, ((4, 2), (4,))))
        for kind, shape in zip(("weight", "bias"), shapes, strict=True)
    }
    inverse = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2, "leave_out": [0, 2]}
    second = {name.replace("layer.0", "layer.1"): shape for name, shape in bottleneck().items()}
    folder = adapterhub(tmp_path / "a", {**SEQ, **inverse}, second | coupling)
    assert method_of(read_folder(folder, BASE))[0] == "seq_bn_inv"
