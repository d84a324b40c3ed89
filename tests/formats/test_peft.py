from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hubkit import Adapter
from hubkit.bases.describe import describe
from hubkit.formats.heads import Head
from hubkit.models.head import head_of
from registry.errors import AdapterError
from tests.support.folders import (
    Tensors,
    drop,
    edit_json,
    edit_tensors,
    nan_at,
    options_in,
    put,
)
from tests.support.models import (
    PEFT_REFERENCES,
    random_adapter,
    reference_base,
    same,
    snapshot,
    tiny_classifier,
    tiny_model,
)

WEIGHTS = "adapter_model.safetensors"
FOLDERS = [
    folder.relative_to(PEFT_REFERENCES)
    for folder in sorted(PEFT_REFERENCES.glob("*/*/[ab]"))
    if (folder / "adapter_config.json").exists()
]


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_reference_adapter_is_written_with_the_names_and_bits_it_was_read_with(
    folder: Path, tmp_path: Path
) -> None:
    source = PEFT_REFERENCES / folder
    adapter = Adapter.load(source)
    base = describe(reference_base(folder.parts[0]))
    if adapter.head is not None:
        # Its class is not in the folder.
        model_class = "BertForSequenceClassification"
        adapter = replace(adapter, head=replace(adapter.head, model_class=model_class))
    replace(adapter, base=base).save(tmp_path)
    written, expected = load_file(tmp_path / WEIGHTS), load_file(source / WEIGHTS)
    assert same(dict(sorted(written.items())), dict(sorted(expected.items())))
    options, theirs = options_in(tmp_path), options_in(source)
    for key in ("peft_type", "bias", "lora_dropout", "use_rslora", "use_dora", "lora_bias"):
        assert options[key] == theirs[key], key
    again = Adapter.load(tmp_path)
    assert [*again.deltas] == [*adapter.deltas]
    for site, delta in adapter.deltas.items():
        assert again.deltas[site].form == delta.form
        assert again.deltas[site].shape == delta.shape


@settings(max_examples=20)
@given(
    st.integers(1, 16),
    st.floats(0.25, 64),
    st.booleans(),
    st.sampled_from(["all-linear", ("query",), r".*layer\.1\..*\.dense", ("output.dense", "key")]),
    st.sampled_from([{}, {"query": 3, r"layer\.1\.output\.dense": 5}]),
    st.sampled_from([{}, {r"0\..*dense": 2.5}]),
    st.booleans(),
)
def test_any_lora_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    alpha: float,
    use_rslora: bool,
    target_modules: Any,
    rank_pattern: dict[str, int],
    alpha_pattern: dict[str, float],
    bias: bool,
) -> None:
    folder = tmp_path_factory.mktemp("adapters") / "mine"
    model = tiny_model()
    adapter = random_adapter(
        model,
        "mine",
        "lora",
        bottleneck_size=rank,
        alpha=alpha,
        use_rslora=use_rslora,
        target_modules=target_modules,
        rank_pattern=rank_pattern,
        alpha_pattern=alpha_pattern,
        bias=bias,
    )
    replace(adapter, base=describe(model)).save(folder)
    found = Adapter.load(folder)
    assert (found.name, found.model_type) == ("mine", "bert")
    assert set(found.deltas) == set(adapter.deltas)
    for site, delta in adapter.deltas.items():
        assert same(snapshot(found.deltas[site]), snapshot(delta))
        assert found.deltas[site].form == delta.form
        assert not any(p.requires_grad for p in found.deltas[site].parameters())
        assert not found.deltas[site].training


def test_a_head_is_saved_as_a_module_beside_its_lora(tmp_path: Path) -> None:
    model = tiny_classifier()
    head = head_of(model)
    assert head is not None
    adapter = replace(random_adapter(model, method="lora"), base=describe(model), head=head)
    adapter.save(tmp_path)
    assert options_in(tmp_path)["modules_to_save"] == ["classifier"]
    assert options_in(tmp_path)["task_type"] == "SEQ_CLS"
    names = set(load_file(tmp_path / WEIGHTS))
    assert "base_model.model.classifier.weight" in names
    assert "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight" in names
    found = Adapter.load(tmp_path)
    assert isinstance(found.head, Head)
    assert found.head.backbone == "bert"
    assert same(dict(sorted(found.head.tensors.items())), dict(sorted(head.tensors.items())))


# What is broken in a folder, and what the message has to name.

PATH = "base_model.model.encoder.layer.0.attention.self.query"
DOWN, UP = f"{PATH}.lora_A.weight", f"{PATH}.lora_B.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(PEFT_REFERENCES / "bert" / "lora" / "a", tmp_path / "a"))
    assert {DOWN, UP} <= set(load_file(copy / WEIGHTS))
    return copy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(DOWN), ("encoder.layer.0.attention.self.query", "'down'")),
        (drop(UP), ("encoder.layer.0.attention.self.query", "'up'")),
        (put(f"{PATH}.lora_C.weight", torch.ones(1)), (f"{PATH}.lora_C.weight",)),
        (put(f"{PATH}.lora_magnitude_vector", torch.ones(32)), ("lora_magnitude_vector",)),
        (put("model.classifier.weight", torch.ones(1)), ("model.classifier.weight",)),
        (put(f"{PATH}.lora_B.bias", torch.ones(32)), ("self.query", "'up_bias': (32,)")),
        (put(DOWN, torch.ones(3, 32)), ("self.query", "rank 4", "3 rows")),
        (put(UP, torch.ones(32, 3)), ("self.query", "(32, 3)", "(32, 4)")),
        (put(UP, torch.ones(32)), ("self.query", "(32,)")),
        (put(DOWN, torch.ones(())), ("self.query", "()")),
        (put(DOWN, torch.ones(4, 32, dtype=torch.int32)), ("self.query", "torch.int32")),
        (put(UP, torch.ones(32, 4, dtype=torch.bool)), ("self.query", "torch.bool")),
        (nan_at(DOWN, float("nan")), ("self.query", "down holds NaN")),
        (nan_at(UP, float("-inf")), ("self.query", "up holds NaN or infinite")),
        (Tensors.clear, ("holds no tensor of a LoRA",)),
    ],
)
def test_a_tensor_that_does_not_belong_is_named(
    folder: Path, change: Any, words: tuple[str, ...]
) -> None:
    edit_tensors(folder, change, WEIGHTS)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("use_qalora", True),
        ("layer_replication", [[0, 1], [0, 1]]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["w"]),
        ("alora_invocation_tokens", [1]),
    ],
)
def test_an_option_that_changes_the_numbers_is_refused_by_name(
    folder: Path, option: str, value: Any
) -> None:
    edit_json(folder, **{option: value})
    with pytest.raises(AdapterError, match=f"the option {option} is .*through PEFT"):
        Adapter.load(folder)


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", "ADALORA", "VERA", None, 3])
def test_another_method_of_the_library_is_named(folder: Path, kind: Any) -> None:
    edit_json(folder, peft_type=kind)
    with pytest.raises(AdapterError, match=f"does not compose the method {kind!r}"):
        Adapter.load(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r": 5}, ("rank 5", "4 rows")),
        ({"r": 0}, ("adapter_config.json: r is 0", "a whole number from 1")),
        ({"lora_alpha": "x"}, ("adapter_config.json: lora_alpha is 'x'", "a number")),
        ({"rank_pattern": {"query": 3}}, ("rank 3", "query", "4 rows")),
        ({"lora_bias": True}, ("self.query", "'up_bias'")),
    ],
)
def test_a_configuration_that_does_not_fit_the_weights_is_refused(
    folder: Path, options: dict[str, Any], words: tuple[str, ...]
) -> None:
    edit_json(folder, **options)
    with pytest.raises(AdapterError) as caught:
        Adapter.load(folder)
    for word in words:
        assert word in str(caught.value)


def test_a_lora_of_no_layer_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"name no linear layer of the base model; it has dense"):
        random_adapter(tiny_model(), method="lora", target_modules=("nothing",))


@pytest.mark.parametrize(
    "options", [{"layers_to_transform": [0]}, {"target_modules": ["value"]}, {"target_modules": []}]
)
def test_tensors_where_the_configuration_puts_no_adapter_are_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(PEFT_REFERENCES / "bert" / "lora" / "a", tmp_path / "a"))
    edit_json(folder, **options)
    with pytest.raises(AdapterError, match=r"puts no adapter at encoder\.layer\.\d\.attention"):
        Adapter.load(folder)
