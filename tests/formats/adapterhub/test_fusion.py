from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering

from hubkit import Adapter, Fuse, Fusion, attach
from hubkit.bases.describe import describe
from hubkit.formats.tensor_files import read_tensors
from hubkit.models.head import head_of
from registry.errors import AdapterError
from registry.manifest import BaseModelInfo
from tests.support.folders import (
    PREFIXES,
    Tensors,
    drop,
    edit_options,
    edit_tensors,
    nan_at,
    options_in,
    put,
    without_prefix,
)
from tests.support.models import (
    METHODS,
    REFERENCED,
    REFERENCES,
    random_adapter,
    same,
    snapshot,
    tiny_config,
)
from tests.support.references import in_folder

BASE = BaseModelInfo(id="tiny", architecture="BertModel", hidden_size=32, num_layers=2)


def fusion_tensors_in(folder: Path) -> Tensors:
    name = "model_adapter_fusion"
    return read_tensors(folder, f"{name}.safetensors", f"pytorch_{name}.bin")


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("folder", "parts"), [("fusion_abc", "abc"), ("fusion_ab_static", "ab")])
def test_a_reference_fusion_is_written_with_the_names_and_bits_it_was_read_with(
    architecture: str, method: str, folder: str, parts: str, tmp_path: Path
) -> None:
    source = REFERENCES / architecture / method
    adapters = [replace(in_folder(source, name), base=BASE) for name in parts]
    fusion = Fusion.load(source / folder, adapters)
    fusion.save(tmp_path)
    expected = {
        without_prefix(key, architecture): tensor
        for key, tensor in fusion_tensors_in(source / folder).items()
        # The library writes the fusion of a, b and c into that of a and b too.
        if f".{','.join(parts)}." in key
    }
    written = load_file(tmp_path / "model_adapter_fusion.safetensors")
    assert all(key.startswith(f"{PREFIXES[architecture]}.") for key in written)
    found = {without_prefix(k, architecture): v for k, v in written.items()}
    assert same(dict(sorted(found.items())), dict(sorted(expected.items())))

    file = "adapter_fusion_config.json"
    options, theirs = options_in(tmp_path, file), options_in(source / folder, file)
    assert options["adapter_names"] == theirs["adapter_names"] == list(parts)
    assert options["name"] == theirs["name"]
    assert options["config"]["value"] is theirs["config"]["value"]
    again = Fusion.load(tmp_path, adapters)
    for site, layer in fusion.layers.items():
        assert same(snapshot(again.layers[site]), snapshot(layer))


@pytest.fixture
def fusion_folder(tmp_path: Path) -> Path:
    source = REFERENCES / "distilbert" / "seq_bn"
    return Path(shutil.copytree(source, tmp_path / "all")) / "fusion_abc"


def load_fusion(folder: Path, names: str = "abc") -> Fusion:
    return Fusion.load(folder, [Adapter.load(folder.parent / name) for name in names])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("key", False),
        ("query", False),
        ("query_before_ln", True),
        ("residual_before", True),
        ("temperature", True),
    ],
)
def test_a_fusion_option_that_changes_the_numbers_is_refused_by_name(
    fusion_folder: Path, option: str, value: bool
) -> None:
    edit_options(fusion_folder, "adapter_fusion_config.json", **{option: value})
    with pytest.raises(AdapterError, match=f"the option {option} is {value!r}"):
        load_fusion(fusion_folder)


def test_of_a_temperature_it_says_why_it_is_refused_and_what_to_do(fusion_folder: Path) -> None:
    edit_options(fusion_folder, "adapter_fusion_config.json", temperature=True)
    with pytest.raises(AdapterError, match=r"from 50 to 1 with every pass.* set the option to fal"):
        load_fusion(fusion_folder)


def test_what_concerns_training_alone_is_read_and_changes_no_number(fusion_folder: Path) -> None:
    plain = load_fusion(fusion_folder)
    of_training = {"dropout_prob": 0.3, "regularization": False, "value_initialized": False}
    changes = {**of_training, "value_before_softmax": False}
    edit_options(fusion_folder, "adapter_fusion_config.json", **changes)
    found = load_fusion(fusion_folder)
    for site, layer in found.layers.items():
        assert same(snapshot(layer), snapshot(plain.layers[site]))
        assert (layer.penalty, plain.layers[site].penalty) == (0.0, 0.01)


def test_a_value_matrix_is_there_where_the_configuration_says_so(fusion_folder: Path) -> None:
    edit_options(fusion_folder, "adapter_fusion_config.json", value=False)
    with pytest.raises(AdapterError, match="the option value is False, but the weights have a v"):
        load_fusion(fusion_folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("query.weight"), ("transformer.layer.0.feed_forward", "query.weight")),
        (drop("key.bias"), ("transformer.layer.0.feed_forward", "key.bias")),
        (put("value.bias", torch.ones(32)), ("a,b,c.value.bias' fits no site",)),
        (put("query.weight", torch.ones(32, 16)), ("transformer.layer.0", "(32, 16)")),
        (nan_at("key.weight", float("nan")), ("transformer.layer.0", "key.weight holds NaN")),
    ],
)
def test_a_fusion_tensor_that_does_not_belong_is_named(
    fusion_folder: Path, change: Callable[[Tensors], None], words: tuple[str, ...]
) -> None:
    def in_the_first_layer(tensors: Tensors) -> None:
        key = next(key for key in tensors if ".layer.0." in key and ".a,b,c." in key)
        prefix = key[: key.index("a,b,c.") + len("a,b,c.")]
        ours = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for name in ours:
            del tensors[prefix + name]
        change(ours)
        tensors.update({prefix + name: tensor for name, tensor in ours.items()})

    edit_tensors(fusion_folder, in_the_first_layer, "model_adapter_fusion.safetensors")
    with pytest.raises(AdapterError) as caught:
        load_fusion(fusion_folder)
    for word in words:
        assert word in str(caught.value)


def test_a_fusion_over_another_number_of_adapters_is_refused(fusion_folder: Path) -> None:
    with pytest.raises(AdapterError, match=r"trained on 3 adapters \(a, b, c\), but 2 were given"):
        load_fusion(fusion_folder, "ab")


def test_a_fusion_over_adapters_at_other_sites_is_refused(fusion_folder: Path) -> None:
    source = REFERENCES / "distilbert" / "double_seq_bn"
    adapters = [Adapter.load(source / name) for name in "abc"]
    with pytest.raises(AdapterError, match=r"same sites: transformer\.layer\.0\.attention"):
        Fusion.load(fusion_folder, adapters)


def test_a_fusion_folder_without_its_fusion_is_refused(fusion_folder: Path) -> None:
    content = options_in(fusion_folder, "adapter_fusion_config.json") | {"name": "x,y,z"}
    (fusion_folder / "adapter_fusion_config.json").write_text(json.dumps(content))
    with pytest.raises(AdapterError, match=r"holds no tensor of 'adapter_fusion_layer\.x,y,z'"):
        load_fusion(fusion_folder)


def test_a_fusion_has_the_options_of_the_set_that_it_names(tmp_path: Path) -> None:
    source = REFERENCES / "distilbert" / "seq_bn"
    adapters = [replace(Adapter.load(source / name), base=BASE) for name in "ab"]
    folder = Path(shutil.copytree(source / "fusion_ab_static", tmp_path / "f"))
    file = folder / "adapter_fusion_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"config": "static"}))
    layers = Fusion.load(folder, adapters).layers.values()
    assert not any(layer.penalty for layer in layers)
    for config, message in (
        ("dynamic", "the option value is True, but the weights have no value matrix"),
        (None, "the option value is True, but the weights have no value matrix"),
        ({}, "config is {}; expected the options of a fusion, or the name 'dynamic' or 'static'"),
        ("wild", "config is 'wild'; expected the options of a fusion"),
    ):
        file.write_text(json.dumps(content | {"config": config}))
        with pytest.raises(AdapterError, match=message):
            Fusion.load(folder, adapters)


def test_a_fusion_with_a_head_has_the_name_of_the_backbone_in_that_model(tmp_path: Path) -> None:
    model = AutoModelForQuestionAnswering.from_config(tiny_config("qwen2"))
    described = describe(model)
    parts = [replace(random_adapter(model, name), base=described) for name in "ab"]
    attached = attach(model, Fuse(*parts))
    assert isinstance(attached.composition, Fusion)
    replace(attached.composition, head=head_of(model)).save(tmp_path)
    assert model.base_model_prefix == "transformer"
    written = load_file(tmp_path / "model_adapter_fusion.safetensors")
    assert all(key.startswith("transformer.layers.") for key in written)
