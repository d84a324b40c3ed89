"""Adapters of models that AdapterHub's library knows only through an interface."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FolderError
from registry.folders import read_folder
from registry.folders.adapterhub_interface import INTERFACE
from tests.registry.folders.conftest import BASE, SEQ, Shapes, adapterhub, lines
from tests.support.foreign import FIXTURES, copy, edit

DOUBLE = {**SEQ, "mh_adapter": True, "original_ln_before": False}
OWN: dict[str, Any] = {
    "adapter_methods": ["bottleneck", "lora", "reft", "invertible"],
    "model_embeddings": "embeddings",
    "model_layers": "layers",
    "layer_self_attn": "attn",
    "attn_qkv_proj": "Wqkv",
    "attn_o_proj": "Wo",
    "layer_output_proj": "mlp.Wo",
    "layer_pre_ffn": "mlp",
    "layer_ln_1": "mlp_norm",
    "layer_ln_2": None,
}
"""The one that ``adapters`` 1.3.0 brings for ModernBERT."""


def shapes(*places: str) -> Shapes:
    return {
        f"{place}.adapters.x.{name}": shape
        for place in places
        for name, shape in (
            ("adapter_down.0.weight", (2, 8)),
            ("adapter_down.0.bias", (2,)),
            ("adapter_up.weight", (8, 2)),
            ("adapter_up.bias", (8,)),
        )
    }


def saved(folder: Path, config: Any, model_type: str, interface: Any, *places: str) -> Path:
    adapterhub(folder, config, shapes(*places), model_type=model_type)
    (folder / INTERFACE).write_text(json.dumps({"interface": interface}))
    return folder


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma", "modernbert", "mpnet"])
@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn", "par_bn"])
def test_what_the_interface_says_is_what_hubkit_computes(architecture: str, method: str) -> None:
    folder = read_folder(FIXTURES / "adapterhub" / architecture / method / "a", BASE)
    assert (folder.manifest.method.type, folder.notes) == (method, ())


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (SEQ, {"adapter_methods": ["bottleneck"]}, "layer_pre_ffn 'mlp', where hubkit's adapters"),
        (DOUBLE, {"adapter_methods": ["bottleneck"]}, None),
        (DOUBLE, {"adapter_methods": ["bottleneck"], "attn_o_proj": "out"}, "attn_o_proj 'out'"),
        (DOUBLE, {}, "gives each Wqkv of a ModernBERT a bias at random"),
    ],
)
def test_an_interface_of_other_modules_is_told(
    tmp_path: Path, config: Any, changes: Any, reason: str | None
) -> None:
    places = ("layers.0.attention_adapters", "layers.0.output_adapters")
    used = places if config["mh_adapter"] else places[1:]
    folder = read_folder(saved(tmp_path / "a", config, "modernbert", OWN | changes, *used), BASE)
    if reason is None:
        assert folder.manifest.method.type == "double_seq_bn"
        assert "Kept" not in lines(folder)
        return
    assert folder.manifest.method.type == "bottleneck"
    assert "Kept, not attached by hubkit: " in lines(folder)
    assert reason in lines(folder)


def test_the_norm_of_the_last_layer_in_all_layers_is_told(tmp_path: Path) -> None:
    folder = copy(FIXTURES / "adapterhub" / "mpnet" / "seq_bn" / "a", tmp_path / "a")
    interface = json.loads((folder / INTERFACE).read_text())["interface"]
    two = [f"encoder.layer.{number}.output_adapters" for number in (0, 1)]
    read = read_folder(saved(tmp_path / "b", SEQ, "mpnet", interface, *two), BASE)
    assert "has the LayerNorm of the last layer in each layer of it" in lines(read)


def test_an_invertible_part_before_the_embeddings_are_scaled_is_told(tmp_path: Path) -> None:
    folder = copy(FIXTURES / "adapterhub" / "gemma" / "seq_bn" / "a", tmp_path / "a")
    edit(folder / INTERFACE, lambda one: one["interface"].update(model_embeddings="embed_tokens"))
    inverse = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
    edit(folder / "adapter_config.json", lambda one: one["config"].update(inverse))
    read = read_folder(folder, BASE)
    assert read.manifest.method.type == "bottleneck"
    assert "before the embeddings are scaled" in lines(read)


def test_an_interface_for_another_architecture_is_told(tmp_path: Path) -> None:
    place = "encoder.layer.0.output"
    read = read_folder(saved(tmp_path / "a", SEQ, "bert", OWN, place), BASE)
    assert "is for the architecture bert, of which hubkit knows none" in lines(read)


def test_an_interface_without_modules_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", SEQ, "modernbert", None, "layers.0.output_adapters")
    with pytest.raises(FolderError, match="interface is None; expected the names of modules"):
        read_folder(folder, BASE)
