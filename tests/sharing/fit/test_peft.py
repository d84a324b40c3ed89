"""With the base model at hand, every tensor of a folder is held to it before it is published."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

import hubkit
from hubkit import Adapter
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    FolderError,
    HubkitError,
    NotFoundError,
    OtherBaseError,
)
from tests.support.models import base_folder, tiny_config, tiny_inputs, tiny_model

NAME = AdapterRef(None, "it")
Tensors = dict[str, Tensor]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_model("bert").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def lora(folder: Path, tensors: Tensors, **options: Any) -> Path:
    """Write a LoRA of PEFT for a sequence classifier."""
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": "tiny",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["query"],
        **options,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def deltas() -> Tensors:
    """A delta at the query of each layer of the tiny BERT."""
    config = tiny_config("bert")
    width, layers = config.hidden_size, config.num_hidden_layers
    start = "base_model.model.bert.encoder.layer"
    return {
        f"{start}.{layer}.attention.self.query.lora_{side}.weight": torch.randn(shape)
        for layer in range(layers)
        for side, shape in (("A", (2, width)), ("B", (width, 2)))
    }


def head(rows: int, width: int) -> Tensors:
    return {
        "base_model.model.classifier.weight": torch.randn(rows, width),
        "base_model.model.classifier.bias": torch.randn(rows),
    }


def test_a_head_of_the_width_of_the_base_model_fits(
    catalog: Catalog, tmp_path: Path, base: Path
) -> None:
    width = tiny_config("bert").hidden_size
    folder = lora(tmp_path / "a", deltas() | head(3, width), modules_to_save=["classifier"])
    version = publish_folder(
        catalog, folder, NAME, base=str(base), task="t", labels=("a", "b", "c")
    )
    assert catalog.manifest(version).labels == ("a", "b", "c")


def wide_head(width: int) -> tuple[Tensors, dict[str, Any]]:
    return head(3, width + 8), {"modules_to_save": ["classifier"]}


def short_bias(width: int) -> tuple[Tensors, dict[str, Any]]:
    bias = {"base_model.model.classifier.bias": torch.randn(2)}
    return head(3, width) | bias, {"modules_to_save": ["classifier"]}


def resized_embeddings(width: int) -> tuple[Tensors, dict[str, Any]]:
    name = "base_model.model.bert.embeddings.word_embeddings.weight"
    rows = tiny_config("bert").vocab_size + 6
    modules = ["word_embeddings", "classifier"]
    return head(3, width) | {name: torch.randn(rows, width)}, {"modules_to_save": modules}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (wide_head, r"classifier\.weight"),
        (short_bias, r"classifier\.bias"),
        (resized_embeddings, r"word_embeddings\.weight"),
    ],
)
def test_a_tensor_that_replaces_one_of_another_shape_is_refused(
    catalog: Catalog,
    tmp_path: Path,
    base: Path,
    change: Callable[[int], tuple[Tensors, dict[str, Any]]],
    named: str,
) -> None:
    others, options = change(tiny_config("bert").hidden_size)
    folder = lora(tmp_path / "a", deltas() | others, **options)
    with pytest.raises(BaseModelMismatchError, match=rf"{named}' has the shape .* but that of"):
        publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("a", "b", "c"))
    with pytest.raises(HubkitError, match="it"):
        catalog.resolve(NAME)


@pytest.mark.parametrize(
    ("held", "modules", "lacks"),
    [
        ({"classifier.weight": (2, 16)}, None, r"classifier\.bias"),
        ({"classifier.bias": (2,)}, ["classifier"], r"classifier\.weight"),
        ({"bert.pooler.dense.weight": (16, 16)}, ["pooler"], r"bert\.pooler\.dense\.bias"),
        ({"bert.pooler.dense.bias": (16,)}, None, r"bert\.pooler\.dense\.weight"),
        (
            {"bert.encoder.layer.1.output.LayerNorm.bias": (16,)},
            ["LayerNorm"],
            r"bert\.embeddings\.LayerNorm\.weight, ",
        ),
    ],
)
def test_a_part_of_a_module_that_was_trained_is_refused(
    catalog: Catalog,
    tmp_path: Path,
    base: Path,
    held: dict[str, tuple[int, ...]],
    modules: list[str] | None,
    lacks: str,
) -> None:
    tensors = {f"base_model.model.{name}": torch.randn(shape) for name, shape in held.items()}
    if "classifier" not in next(iter(held)):
        tensors |= head(2, tiny_config("bert").hidden_size)
    folder = lora(tmp_path / "a", deltas() | tensors, modules_to_save=modules)
    labels = () if "classifier.bias" in held else ("a", "b")
    with pytest.raises(AdapterError, match=rf"lacks {lacks}.* which a BertFor"):
        publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=labels)
    with pytest.raises(HubkitError, match="it"):
        catalog.resolve(NAME)


def test_a_part_of_the_head_that_was_trained_and_is_not_there_is_named(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = tmp_path / "distil"
    tiny_model("distilbert").save_pretrained(base)
    config = tiny_config("distilbert")
    start = "base_model.model.distilbert.transformer.layer"
    tensors = {
        f"{start}.{layer}.attention.q_lin.lora_{side}.weight": torch.randn(shape)
        for layer in range(config.num_hidden_layers)
        for side, shape in (("A", (2, config.hidden_size)), ("B", (config.hidden_size, 2)))
    } | head(2, config.hidden_size)
    folder = lora(
        tmp_path / "a",
        tensors,
        target_modules=["q_lin"],
        modules_to_save=["classifier", "pre_classifier"],
    )
    with pytest.raises(
        AdapterError, match=r"lacks pre_classifier\.weight, pre_classifier\.bias, which a Distil"
    ):
        publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("a", "b"))


def test_the_names_of_transformers_4_fit_a_vision_transformer(
    catalog: Catalog, tmp_path: Path
) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
    )
    ViTModel(config).save_pretrained(tmp_path / "base")
    old, new = (
        {
            f"base_model.model.{path.format(layer)}.lora_{side}.weight": torch.full(shape, 0.5)
            for layer in range(2)
            for side, shape in (("A", (2, 16)), ("B", (16, 2)))
        }
        for path in ("encoder.layer.{}.attention.attention.query", "layers.{}.attention.q_proj")
    )
    plain = {"task_type": None, "auto_mapping": {"base_model_class": "ViTModel"}}
    for name, tensors, target in (("old", old, "query"), ("new", new, "q_proj")):
        folder = lora(tmp_path / name, tensors, target_modules=[target], **plain)
        publish_folder(
            catalog, folder, AdapterRef(None, name), base=str(tmp_path / "base"), task="t"
        )
    one, other = Adapter.load(tmp_path / "old"), Adapter.load(tmp_path / "new")
    assert one.deltas.keys() == other.deltas.keys()
    # PEFT, which runs DoRA, does not find the old names.
    vectors = {
        f"base_model.model.encoder.layer.{layer}.attention.attention.query"
        ".lora_magnitude_vector": torch.ones(16)
        for layer in range(2)
    }
    dora = lora(tmp_path / "dora", old | vectors, target_modules=["query"], use_dora=True, **plain)
    with pytest.raises(AdapterError, match="fits no module of a ViTModel"):
        publish_folder(catalog, dora, NAME, base=str(tmp_path / "base"), task="t")


def trained(folder: Path, model: PreTrainedModel, **options: Any) -> Path:
    """What PEFT saves of a LoRA for a model, the head that it adds included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of transformers
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=4, **options))
    for number, (_, parameter) in enumerate(adapted.named_parameters()):
        if parameter.requires_grad:
            parameter.data = torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(number)
            )
    adapted.save_pretrained(folder)
    return folder


@torch.no_grad()
def run_by_peft(
    model: PreTrainedModel, folder: Path, inputs: dict[str, Tensor] | None = None
) -> Tensor:
    """The logits that PEFT computes with an adapter's folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    logits: Tensor = adapted(**(inputs or tiny_inputs())).logits
    return logits


@pytest.mark.parametrize(
    ("architecture", "saved_from", "targets", "lost"),
    [
        ("deberta-v2", AutoModel, ["query_proj"], "pooler.dense.weight"),
        ("modernbert", AutoModel, ["Wqkv"], "head.dense.weight"),
        ("bert", AutoModelForMaskedLM, ["query"], "bert.pooler.dense.weight"),
        ("deberta-v2", AutoModelForSequenceClassification, ["query_proj"], None),
        ("modernbert", AutoModelForMaskedLM, ["Wqkv"], None),
        ("bert", AutoModel, ["query"], None),
    ],
)
def test_what_peft_did_not_save_of_a_head_is_in_the_base_model_or_was_lost(
    architecture: str,
    saved_from: Any,
    targets: list[str],
    lost: str | None,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    base = base_folder(tmp_path / "base", architecture, saved_from)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    folder = trained(tmp_path / "a", model, target_modules=targets, task_type="SEQ_CLS")
    options: dict[str, Any] = {"base": str(base), "task": "t", "labels": ("a", "b")}
    if lost is not None:
        with pytest.raises(AdapterError, match=rf"Neither .* nor the base model has .*{lost}"):
            publish_folder(catalog, folder, NAME, **options)
        with pytest.raises(NotFoundError):
            catalog.resolve(NAME)
        return
    publish_folder(catalog, folder, NAME, **options)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))


def test_a_head_that_peft_does_not_know_is_that_of_the_base_model(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "bart", AutoModelForSequenceClassification)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    folder = trained(tmp_path / "a", model, target_modules=["q_proj"], task_type="SEQ_CLS")
    publish_folder(catalog, folder, NAME, base=str(base), task="t")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    inputs = tiny_inputs()
    inputs["input_ids"][inputs["input_ids"] == model.config.eos_token_id] += 1
    inputs["input_ids"][:, -1] = model.config.eos_token_id  # which its head reads
    inputs["attention_mask"][:] = 1
    with torch.no_grad(), hubkit.attach(model, hubkit.load_composition(NAME, catalog=catalog)):
        ours = model(**inputs).logits
    torch.testing.assert_close(ours, run_by_peft(model, folder, inputs))


def test_a_head_that_peft_did_not_know_is_lost_if_the_base_model_has_none(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "bart", AutoModel)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    folder = trained(tmp_path / "a", model, target_modules=["q_proj"], task_type="SEQ_CLS")
    with pytest.raises(AdapterError, match=r"Neither .* nor the base model has classification_h"):
        publish_folder(catalog, folder, NAME, base=str(base), task="t")


def test_a_head_of_the_folder_takes_the_place_of_that_in_the_base_model(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "t5", AutoModelForTokenClassification)
    other = {"num_labels": 3, "ignore_mismatched_sizes": True}
    model = AutoModelForTokenClassification.from_pretrained(base, **other)
    folder = trained(tmp_path / "a", model, target_modules=["q"], task_type="TOKEN_CLS")
    publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("a", "b", "c"))
    model = AutoModelForTokenClassification.from_pretrained(base, **other)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))


@pytest.mark.parametrize("dora", [False, True])
def test_what_adapts_the_head_of_the_base_model_predicts(
    catalog: Catalog, tmp_path: Path, dora: bool
) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModelForSequenceClassification)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    labels = ("a", "b", "c")[: model.config.num_labels]
    folder = trained(tmp_path / "a", model, target_modules="all-linear", use_dora=dora)
    publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=labels)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))


def test_what_adapts_a_head_that_the_base_model_lacks_is_lost(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModel)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    folder = trained(tmp_path / "a", model, target_modules="all-linear")
    with pytest.raises(AdapterError, match=r"Neither .* nor the base model has classifier\.w"):
        publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("a", "b"))


def test_names_of_modules_that_the_model_lacks_are_passed_over(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModel)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    folder = trained(
        *(tmp_path / "a", model),
        target_modules=["query"],
        modules_to_save=["classifier", "embed_tokens"],
    )
    publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("a", "b"))
    model = AutoModelForSequenceClassification.from_pretrained(base)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))


@pytest.mark.parametrize(
    ("modules", "held", "missing"),
    [
        (["classifier", "score"], ["classifier"], None),  # PEFT lists heads of all architectures
        (["classifier", "score"], [], "classifier, score"),
        (["word_embeddings", "classifier", "score"], ["classifier"], "word_embeddings"),
        (["embed_tokens", "lm_head"], ["lm_head"], "embed_tokens"),
        (["classifier"], ["classifier.dense", "classifier.out_proj"], None),
    ],
)
def test_where_the_model_is_not_at_hand_all_that_is_named_is_in_the_folder(
    catalog: Catalog, tmp_path: Path, modules: list[str], held: list[str], missing: str | None
) -> None:
    tensors = {f"base_model.model.{name}.weight": torch.randn(2, 16) for name in held}
    options = {"modules_to_save": modules, "task_type": None}
    folder = lora(tmp_path / "a", deltas() | tensors, **options)
    labels = ("a", "b") if any("classifier" in name for name in held) else ()
    if missing is None:
        assert publish_folder(catalog, folder, NAME, task="t", labels=labels).method == "lora"
        return
    with pytest.raises(FolderError, match=f"modules_to_save names {missing}, of which"):
        publish_folder(catalog, folder, NAME, task="t", labels=labels)


@pytest.mark.parametrize(
    ("task", "of"), [("SEQ_CLS", "classifier, score"), ("QUESTION_ANS", "qa_outputs")]
)
def test_where_the_model_is_not_at_hand_the_head_of_the_task_type_is_in_the_folder(
    catalog: Catalog, tmp_path: Path, task: str, of: str
) -> None:
    folder = lora(tmp_path / "a", deltas(), task_type=task)
    with pytest.raises(FolderError, match=rf"a {task} has {of}, of which adapter_model"):
        publish_folder(catalog, folder, NAME, task="t")


def test_an_adapter_of_the_encoder_alone_is_held_to_the_whole_base_model(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "t5")
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    folder = trained(tmp_path / "a", model, target_modules=["q", "v"], task_type="TOKEN_CLS")
    version = publish_folder(catalog, folder, NAME, base=str(base), task="t", labels=("O", "B-x"))
    assert catalog.manifest(version).base_model.architecture == "T5Model"
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))
    other = base_folder(tmp_path / "other", "t5", seed=1)
    with pytest.raises(OtherBaseError, match="the weights"):
        hubkit.load(NAME, base=str(other), catalog=catalog)


def test_a_base_model_that_cannot_do_the_task_is_noted(
    catalog: Catalog, tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish_folder(
        catalog,
        lora(tmp_path / "a", deltas(), task_type="CAUSAL_LM"),
        NAME,
        base=str(base),
        task="t",
    )
    assert "does not load it to predict: The base model" in caplog.text
    assert "is a bert, which is not a decoder" in caplog.text


def test_a_head_that_was_trained_apart_from_the_embeddings_runs_through_peft(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "gpt2", AutoModelForCausalLM)
    folder = trained(
        tmp_path / "a",
        AutoModelForCausalLM.from_pretrained(base),
        target_modules=["c_attn"],
        modules_to_save=["lm_head"],
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
    )
    publish_folder(catalog, folder, NAME, base=str(base), task="t")
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        ours = hubkit.load(NAME, catalog=catalog).model(**tiny_inputs()).logits
        torch.testing.assert_close(ours, run_by_peft(model, folder))
    words = load_file(folder / "adapter_model.safetensors")["base_model.model.lm_head.weight"]
    assert not torch.equal(words, model.get_input_embeddings().weight)
