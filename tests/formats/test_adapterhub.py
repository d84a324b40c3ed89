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
from torch import Tensor

from hubkit import Adapter, Fusion, attach
from hubkit.base_models import describe
from hubkit.formats.adapterhub import foreign_name, read_adapter, reduction_factor
from hubkit.formats.tensor_files import read_tensors
from hubkit.nn.layout import hidden_size
from hubkit.nn.methods import Method
from registry.errors import AdapterError, BaseModelMismatchError
from registry.manifest import BaseModelInfo
from tests.support.models import (
    METHODS,
    REFERENCED,
    REFERENCES,
    random_adapter,
    reference_base,
    same,
    snapshot,
    tiny_model,
)

# What the library puts before the names of a model that has a head.
PREFIXES = dict.fromkeys(REFERENCED, "model") | {
    name: name for name in ("bert", "roberta", "distilbert", "mpnet", "vit")
}
PREFIXES |= {"deberta-v2": "deberta", **dict.fromkeys(("gpt2", "t5", "mt5"), "transformer")}
BASE = BaseModelInfo(id="tiny", architecture="BertModel", hidden_size=32, num_layers=2)
Tensors = dict[str, Tensor]


def tensors_in(folder: Path) -> Tensors:
    return read_tensors(folder, "adapter.safetensors", "pytorch_adapter.bin")


def fusion_tensors_in(folder: Path) -> Tensors:
    name = "model_adapter_fusion"
    return read_tensors(folder, f"{name}.safetensors", f"pytorch_{name}.bin")


def without_prefix(name: str, architecture: str) -> str:
    return name.removeprefix(f"{PREFIXES[architecture]}.")


def options_in(folder: Path, file: str = "adapter_config.json") -> dict[str, Any]:
    options: dict[str, Any] = json.loads((folder / file).read_text())
    return options


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["a", "c"])
def test_a_reference_adapter_is_written_with_the_names_and_bits_it_was_read_with(
    architecture: str, method: str, name: str, tmp_path: Path
) -> None:
    source = REFERENCES / architecture / method / name
    width = hidden_size(reference_base(architecture))
    adapter = replace(Adapter.load(source), base=BASE.model_copy(update={"hidden_size": width}))
    assert adapter.method == Method.default(method, width, width // (4 if name == "a" else 8))
    adapter.save(tmp_path)
    expected = {without_prefix(k, architecture): v for k, v in tensors_in(source).items()}
    written = load_file(tmp_path / "adapter.safetensors")
    assert all(key.startswith(f"{PREFIXES[architecture]}.") for key in written)
    found = {without_prefix(k, architecture): v for k, v in written.items()}
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


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("folder", "parts"), [("fusion_abc", "abc"), ("fusion_ab_static", "ab")])
def test_a_reference_fusion_is_written_with_the_names_and_bits_it_was_read_with(
    architecture: str, method: str, folder: str, parts: str, tmp_path: Path
) -> None:
    source = REFERENCES / architecture / method
    adapters = [replace(Adapter.load(source / name), base=BASE) for name in parts]
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
        random_adapter(model, "mine", method, bottleneck_size=size, seed=seed), base=describe(model)
    )
    settings_ = Method(type=method, bottleneck_size=size, activation=activation, scaling=scaling)
    replace(adapter, method=settings_).save(folder)
    found = Adapter.load(folder)
    assert (found.name, found.method, found.model_type) == ("mine", settings_, "bert")
    assert list(found.deltas) == list(adapter.deltas)
    for site, delta in adapter.deltas.items():
        assert same(snapshot(found.deltas[site]), snapshot(delta))
        assert not any(p.requires_grad for p in found.deltas[site].parameters())
        assert not found.deltas[site].training


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


def edit_options(folder: Path, file: str = "adapter_config.json", **options: Any) -> None:
    content = options_in(folder, file)
    content["config"] |= options
    (folder / file).write_text(json.dumps(content))


def edit_tensors(
    folder: Path, change: Callable[[Tensors], None], file: str = "adapter.safetensors"
) -> None:
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)


DOWN = "transformer.layer.0.output_adapters.adapters.a.adapter_down.0.weight"
UP_BIAS = "transformer.layer.1.output_adapters.adapters.a.adapter_up.bias"


def drop(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


def put(name: str, tensor: Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensor})


def nan_at(name: str, value: float) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name].view(-1)[3] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(DOWN), ("transformer.layer.0.feed_forward", "down.weight")),
        (drop(UP_BIAS), ("transformer.layer.1.feed_forward", "'up.bias': (32,)")),
        (put(f"{DOWN}.extra", torch.ones(1)), (f"'{DOWN}.extra' fits no site",)),
        (put("heads.a.1.weight", torch.ones(1)), ("'heads.a.1.weight' fits no site",)),
        (put(DOWN.replace(".a.", ".b."), torch.ones(8, 32)), (".adapters.b.",)),
        (put(DOWN, torch.ones(8, 31)), ("transformer.layer.0.feed_forward", "(8, 31)", "(8, 32)")),
        (put(DOWN, torch.ones(7, 32)), ("layer.0.feed_forward", "(7, 32)", "(8, 32)")),
        (put(UP_BIAS, torch.ones(())), ("transformer.layer.1.feed_forward", "'up.bias': ()")),
        (put(UP_BIAS, torch.ones(31)), ("transformer.layer.1.feed_forward", "(31,)")),
        (put(DOWN.replace("weight", "bias"), torch.ones(())), ("bottleneck sizes [1, 8]",)),
        (nan_at(DOWN, float("nan")), ("transformer.layer.0", "down.weight holds NaN or infinite")),
        (nan_at(UP_BIAS, float("inf")), ("transformer.layer.1", "up.bias holds NaN or infinite")),
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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_gating", True),
        ("phm_layer", True),
        ("ln_after", True),
        ("ln_before", True),
        ("adapter_residual_before_ln", True),
        ("residual_before_ln", False),
        ("original_ln_after", False),
        ("inv_adapter", "nice"),
        ("cross_adapter", True),
        ("leave_out", [0]),
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
        ({"scaling": "learned"}, "scaling is 'learned', but hubkit computes constant numbers"),
        ({"non_linearity": "wavy"}, "Unknown activation 'wavy'"),
        ({"mh_adapter": True, "output_adapter": False}, "adapters at ['attention']"),
        ({"original_ln_before": False}, "that read the output are none of the methods"),
        ({"is_parallel": True, "mh_adapter": True}, "that read the residual are none"),
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
    assert Adapter.load(folder).method == Method.default("seq_bn", 32, 8)


def test_a_configuration_can_be_the_name_of_a_method(folder: Path) -> None:
    content = options_in(folder) | {"config": "seq_bn"}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    assert read_adapter(folder).method == Method.default("seq_bn", 32, 8)
    (folder / "adapter_config.json").write_text(json.dumps(content | {"config": "prefix_tuning"}))
    with pytest.raises(AdapterError, match="Unknown method 'prefix_tuning'"):
        read_adapter(folder)


@pytest.mark.parametrize("key", ["name", "model_type", "config"])
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


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter.safetensors"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(AdapterError, match=file.replace(".", r"\.")):
        Adapter.load(folder)


def test_a_missing_layer_is_noticed_when_the_adapter_is_attached(folder: Path) -> None:
    edit_tensors(
        folder,
        lambda tensors: [tensors.pop(k) for k in list(tensors) if ".layer.1." in k] and None,
    )
    with pytest.raises(
        BaseModelMismatchError, match=r"deltas at 1 sites; DistilBertModel .* with 2"
    ):
        attach(reference_base("distilbert"), Adapter.load(folder))


# Fusions.


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
