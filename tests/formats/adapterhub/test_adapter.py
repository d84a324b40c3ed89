from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from hubkit import Adapter, attach
from hubkit.bases.describe import describe
from hubkit.formats.adapterhub.adapter import foreign_name
from hubkit.formats.tensor_files import read_tensors
from hubkit.methods.table import new_method
from hubkit.nn.host import BaseModel, hidden_size
from registry.errors import AdapterError, BaseModelMismatchError
from registry.manifest import BaseModelInfo
from tests.support.folders import (
    Tensors,
    drop,
    edit_tensors,
    nan_at,
    options_in,
    put,
    without_prefix,
)
from tests.support.foreign import copy, edit
from tests.support.models import (
    METHODS,
    REFERENCED,
    REFERENCES,
    random_adapter,
    reference_base,
    reference_outputs,
    run,
    same,
    snapshot,
    tiny_model,
)
from tests.support.references import base, check_close, in_folder

BASE = BaseModelInfo(id="tiny", architecture="BertModel", hidden_size=32, num_layers=2)


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["a", "c"])
def test_a_reference_adapter_is_written_with_the_names_and_bits_it_was_read_with(
    architecture: str, method: str, name: str, tmp_path: Path
) -> None:
    source = REFERENCES / architecture / method / name
    model = base(architecture)
    width = hidden_size(model)
    read = in_folder(source.parent, name)
    adapter = replace(read, base=BASE.model_copy(update={"hidden_size": width}))
    factor = options_in(source)["config"]["reduction_factor"]
    assert adapter.method == new_method(method, BaseModel(model), reduction_factor=factor)
    adapter.save(tmp_path)
    expected = {
        without_prefix(k, architecture): v
        for k, v in read_tensors(source, "adapter.safetensors", "pytorch_adapter.bin").items()
    }
    found = load_file(tmp_path / "adapter.safetensors")
    assert same(dict(sorted(found.items())), dict(sorted(expected.items())))

    # What the library wrote, for each option that hubkit writes too.
    options, theirs = options_in(tmp_path), options_in(source)
    for key in ("hidden_size", "model_type", "name", "version"):
        assert options[key] == theirs[key]
    assert set(options) == set(theirs)
    trained_only = {"init_weights", "dropout"}
    for key, value in options["config"].items():
        if key not in trained_only:
            assert value == theirs["config"][key], key


@settings(max_examples=25)
@given(
    st.sampled_from(METHODS),
    st.integers(1, 16),
    st.sampled_from(["relu", "swish", "gelu", "tanh", "leakyrelu"]),
    st.sampled_from([1.0, 4.0, 0.25, -2.0]),
    st.integers(0, 1000),
)
def test_any_adapter_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    method: str,
    size: int,
    activation: str,
    scaling: float,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("adapter")
    model = tiny_model()
    adapter = replace(
        random_adapter(
            model,
            "mine",
            method,
            bottleneck_size=size,
            seed=seed,
            activation=activation,
            scaling=scaling,
        ),
        base=describe(model),
    )
    adapter.save(folder)
    found = Adapter.load(folder)
    assert (found.name, found.method, found.model_type) == ("mine", adapter.method, "bert")
    assert list(found.deltas) == list(adapter.deltas)
    for site, delta in adapter.deltas.items():
        assert same(snapshot(found.deltas[site]), snapshot(delta))
        assert not any(p.requires_grad for p in found.deltas[site].parameters())
        assert not found.deltas[site].training


def test_names_lose_what_separates_names_in_the_library() -> None:
    assert foreign_name("team/a.b,c") == "team-a-b-c"
    assert foreign_name("plain_name-1") == "plain_name-1"


def test_a_name_with_an_owner_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny_model()
    adapter = replace(random_adapter(model, "team/a"), base=describe(model))
    adapter.save(tmp_path)
    assert all("adapters.team-a." in key for key in load_file(tmp_path / "adapter.safetensors"))
    assert Adapter.load(tmp_path).name == "team-a"
    assert Adapter.load(tmp_path, name="team/a").name == "team/a"


def test_an_adapter_without_a_base_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="'a' names no base model"):
        random_adapter(tiny_model()).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# What is broken in a folder, and what the message has to name.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = REFERENCES / "distilbert" / "seq_bn" / "a"
    return Path(shutil.copytree(source, tmp_path / "a"))


DOWN = "transformer.layer.0.output_adapters.adapters.a.adapter_down.0.weight"
UP_BIAS = "transformer.layer.1.output_adapters.adapters.a.adapter_up.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(DOWN), ("transformer.layer.0.feed_forward", "'down': (8, 32)")),
        (drop(UP_BIAS), ("transformer.layer.1.feed_forward", "'up_bias': (32,)")),
        (put(f"{DOWN}.extra", torch.ones(1)), (f"'{DOWN}.extra' fits no site",)),
        (put("heads.a.1.weight", torch.ones(1)), ("'heads.a.1.weight' fits no site",)),
        (put(DOWN.replace(".a.", ".b."), torch.ones(8, 32)), (".adapters.b.",)),
        (put(DOWN, torch.ones(8, 31)), (f"{DOWN} has the shape [8, 31]", "[8, 32]")),
        (put(DOWN, torch.ones(7, 32)), (f"{DOWN} has the shape [7, 32]", "[8, 32]")),
        (put(UP_BIAS, torch.ones(())), ("transformer.layer.1.feed_forward", "'up_bias': ()")),
        (put(UP_BIAS, torch.ones(31)), ("transformer.layer.1.feed_forward", "(31,)")),
        (
            put(DOWN.replace("weight", "bias"), torch.ones(())),
            ("layer.0.feed_forward", "'down_bias': ()"),
        ),
        (nan_at(DOWN, float("nan")), ("transformer.layer.0", "down holds NaN or infinite")),
        (nan_at(UP_BIAS, float("inf")), ("transformer.layer.1", "up_bias holds NaN or infinite")),
    ],
)
def test_a_tensor_that_does_not_belong_is_named(
    folder: Path, change: Callable[[Tensors], None], words: tuple[str, ...]
) -> None:
    edit_tensors(folder, change)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["name", "model_type"])
def test_a_missing_key_of_the_configuration_is_named(folder: Path, key: str) -> None:
    content = options_in(folder)
    del content[key]
    (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(AdapterError, match=f"adapter_config.json lacks the key '{key}'"):
        Adapter.load(folder)


def test_an_unknown_architecture_is_named(folder: Path) -> None:
    content = options_in(folder) | {"model_type": "albert"}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(AdapterError, match="no AdapterHub names for the architecture 'albert'"):
        Adapter.load(folder)


def test_a_lora_is_read_whatever_the_backbone_is_called_in_its_model(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(REFERENCES / "gpt2" / "lora" / "a", tmp_path / "a"))
    expected = Adapter.load(folder).deltas.keys()
    tensors = read_tensors(folder, "adapter.safetensors", "pytorch_adapter.bin")
    (folder / "pytorch_adapter.bin").unlink()
    renamed = {f"model.{key}": tensor for key, tensor in tensors.items()}
    save_file(renamed, folder / "adapter.safetensors")
    assert Adapter.load(folder).deltas.keys() == expected


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter.safetensors"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(AdapterError, match=file.replace(".", r"\.")):
        Adapter.load(folder)


def test_a_layer_that_the_base_model_lacks_can_be_left_out(tmp_path: Path) -> None:
    model = tiny_model()
    adapter = random_adapter(model, "mine", bottleneck_size=[3, 5])
    with attach(model, adapter):
        expected = run(model)
    beyond = replace(adapter.method, leave_out=(9,))
    replace(adapter, base=describe(model), method=beyond).save(tmp_path)
    assert options_in(tmp_path)["config"]["leave_out"] == [9]
    with attach(model, Adapter.load(tmp_path)):
        assert torch.equal(run(model), expected)


def test_a_missing_layer_is_noticed_when_the_adapter_is_attached(folder: Path) -> None:
    edit_tensors(
        folder,
        lambda tensors: [tensors.pop(k) for k in list(tensors) if ".layer.1." in k] and None,
    )
    with pytest.raises(
        BaseModelMismatchError, match=r"deltas at 1 sites; DistilBertModel .* with 2"
    ):
        attach(reference_base("distilbert"), Adapter.load(folder))


@pytest.mark.parametrize(
    ("fields", "undone"),
    [
        ({"model_class": "GPT2LMHeadModel"}, False),
        ({"model_class": "GPT2AdapterModel"}, True),
        ({"model_class": "GPT2LMHeadModel", "version": "3.2.1"}, True),
    ],
)
def test_an_invertible_part_is_undone_where_the_library_undoes_it(
    tmp_path: Path, fields: dict[str, Any], undone: bool
) -> None:
    folder = copy(REFERENCES / "gpt2" / "madx" / "language", tmp_path / "a")
    edit(folder / "adapter_config.json", lambda one: one.update(fields))
    adapter = replace(Adapter.load(folder), base=BaseModelInfo(id="tiny"))
    model = GPT2LMHeadModel.from_pretrained(REFERENCES / "gpt2" / "base").eval()
    expected = reference_outputs(REFERENCES / "gpt2" / "madx")[1]
    states, words = expected["language"], expected["language_logits"]
    assert adapter.coupling is not None
    adapter.save(tmp_path / "b")
    for one in (adapter, Adapter.load(tmp_path / "b")):
        with attach(model, one), torch.no_grad():
            found = run(model, reference_outputs(REFERENCES / "gpt2" / "madx")[0])
        check_close(found, words if undone else states @ model.lm_head.weight.T)
