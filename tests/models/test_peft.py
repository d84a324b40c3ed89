"""Methods that hubkit does not compose: published, listed, run through PEFT, never combined."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

import hubkit
from hubkit import Adapter
from hubkit.composing.combine import publish_stack
from hubkit.inference import load
from hubkit.models.peft import attach_peft
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError, FolderError
from registry.search.search import search
from tests.support.folders import edit_json, options_in
from tests.support.foreign import PEFT
from tests.support.models import base_folder, tokenizer

# PEFT asks transformers by a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

LABELS = ("bad", "good", "dull")
TEXTS = ["the film was good", "a very dull plot", "great"]
TARGETS = {"target_modules": ["query", "value"]}
PARAMETER = "intermediate.dense.weight"
CONFIGS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, **TARGETS),
    "dora": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True, **TARGETS),
    # Initialisations that change the base model's weights, and biases of its layers.
    "olora": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, init_lora_weights="olora", **TARGETS
    ),
    "lora_with_biases": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, bias="all", **TARGETS),
    "lora_with_embeddings": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query", "word_embeddings"]
    ),
    "lora_with_modules": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, modules_to_save=["word_embeddings"], **TARGETS
    ),
    "lora_variant": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query"], target_parameters=[PARAMETER]
    ),
    # Tensors for layers that the base model lacks, and matrices without their zeros.
    "lora_variant repeated": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, layer_replication=[[0, 2], [1, 2]], **TARGETS
    ),
    "lora_variant blocks": lambda: peft.LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        use_bdlora={
            "target_modules_bd_a": ["query"],
            "target_modules_bd_b": ["value"],
            "nblocks": 2,
        },
        **TARGETS,
    ),
    "lora_variant ranks": lambda: peft.LoraConfig(
        task_type="SEQ_CLS",
        r=2,
        target_modules=["query"],
        target_parameters=[PARAMETER],
        rank_pattern={PARAMETER: 3},
    ),
    "lora_variant tokens": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, trainable_token_indices={"word_embeddings": [1, 4]}, **TARGETS
    ),
    "lora_with_biases own": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, bias="lora_only", **TARGETS
    ),
    "lora_with_modules nested": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, modules_to_save=["layer.1.output.dense"], **TARGETS
    ),
    "lora patterns": lambda: peft.LoraConfig(
        task_type="SEQ_CLS",
        r=3,
        lora_alpha=5,
        use_rslora=True,
        rank_pattern={"query": 4, r"layer\.1\.attention\.self\.value": 1},
        alpha_pattern={"value": 2, r"0\.attention\.self\.query": 7},
        **TARGETS,
    ),
    "lora layers": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, layers_to_transform=[1], layers_pattern=["layer", "h"], **TARGETS
    ),
    "lora excluded": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, exclude_modules=["layer.0.attention.self.query"], **TARGETS
    ),
    "lora biases": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_bias=True, **TARGETS),
    # PEFT turns it off for the linear layers of torch.
    "lora transposed": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, fan_in_fan_out=True, **TARGETS
    ),
    "ia3": lambda: peft.IA3Config(
        task_type="SEQ_CLS",
        target_modules=["key", "value", "output.dense"],
        feedforward_modules=["output.dense"],
    ),
    "vera": lambda: peft.VeraConfig(task_type="SEQ_CLS", r=4, **TARGETS),
    "prefix_tuning": lambda: peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
    "prompt_tuning": lambda: peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("peft") / "base")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


def classifier(base: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(LABELS))


def save(method: str, base: Path, folder: Path, seed: int = 3, config: Any = None) -> Tensor:
    """Write a PEFT folder with PEFT itself, and return its logits for TEXTS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of options that it turns off or passes over
        model = peft.get_peft_model(classifier(base), config or CONFIGS[method]())
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trained:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT looks for the base model's configuration on the Hub
        model.save_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits: Tensor = model(**inputs).logits
    return logits


@pytest.mark.parametrize("method", CONFIGS)
def test_what_peft_saved_is_published_listed_and_run_to_the_same_outputs(
    catalog: Catalog, base: Path, tmp_path: Path, method: str
) -> None:
    expected = save(method, base, tmp_path / "a")
    version = publish_folder(
        catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS
    )
    assert version.method == method.partition(" ")[0]
    assert version.base_fingerprint is not None, "the base model is at hand, and named"
    assert search(catalog, method=version.method, task="film").items == (version,)
    model = load("a", catalog=catalog)
    found = model.logits(TEXTS)
    assert (found - expected).abs().max() <= 1e-5
    assert [one.label for one in model.predict(TEXTS)] == [
        LABELS[index] for index in expected.argmax(-1)
    ]
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrow_config": {"top_k": 1}}, "cannot run .* on a BertForSequenceClassification"),
        ({"layer_replication": [[0, 9]]}, "cannot run .*: index 2 is out of range"),
        ({"loftq_config": {"x": 1}, "init_lora_weights": "loftq"}, "cannot run .*: 'loftq_bits'"),
        ({"use_bdlora": True}, "adapter_config.json: PEFT .* refuses it"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which took a part drawn at"),
        ({"layers_to_transform": [0], "layers_pattern": "layer"}, "layer.1.* leaves out"),
    ],
)
def test_what_peft_would_refuse_or_compute_otherwise_is_refused_at_publish(
    catalog: Catalog, base: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    save("lora", base, tmp_path / "a")
    edit_json(tmp_path / "a", **{**options_in(tmp_path / "a"), **options})
    with pytest.raises((AdapterError, FolderError), match=message):
        publish_folder(catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS)
    assert not search(catalog).items


def test_a_method_that_needs_more_than_rows_is_kept_and_says_so(
    catalog: Catalog, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = peft.PolyConfig(
        task_type="SEQ_CLS", r=2, n_tasks=2, n_skills=2, target_modules=["query"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.get_peft_model(classifier(base), config).save_pretrained(tmp_path / "a")
    publish_folder(catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS)
    assert "Kept, not run by hubkit: poly, as it needs the number of a task" in caplog.text
    with pytest.raises(AdapterError, match="the method POLY, which hubkit keeps and does not run"):
        load("a", catalog=catalog)


@pytest.mark.parametrize(
    ("targets", "method"), [(["Wqkv", "Wo"], "lora"), ("all-linear", "lora_on_head")]
)
def test_the_base_models_part_of_a_head_is_used_and_may_have_a_lora(
    catalog: Catalog, tmp_path: Path, targets: Any, method: str
) -> None:
    base = base_folder(tmp_path / "base", "modernbert", AutoModelForMaskedLM)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=targets)
    expected = save(method, base, tmp_path / "a", config=config)
    ref = AdapterRef.parse("a")
    version = publish_folder(
        catalog, tmp_path / "a", ref, task="film", labels=LABELS, base=str(base)
    )
    assert version.method == method
    assert (load("a", catalog=catalog).logits(TEXTS) - expected).abs().max() <= 1e-5


def test_a_lora_on_the_pooler_alone_is_composed(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["pooler.dense"])
    expected = save("lora", base, tmp_path / "a", config=config)
    publish_folder(catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS)
    model = load("a", catalog=catalog)
    assert (model.logits(TEXTS) - expected).abs().max() <= 1e-5
    assert model.composition is not None


def test_a_pooler_trained_beside_a_lora_is_kept(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    whole = ["pooler", "classifier"]
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query"], modules_to_save=whole
    )
    expected = save("lora", base, tmp_path / "a", config=config)
    version = publish_folder(
        catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS
    )
    model = load("a", catalog=catalog)
    assert model.composition is not None
    assert (model.logits(TEXTS) - expected).abs().max() <= 1e-5
    # It brings its own, so that the base model's makes no difference.
    manifest = catalog.manifest(version)
    assert manifest.head is not None
    assert set(manifest.head.modules) == {"pooler", "classifier"}
    assert not manifest.base_model.parts
    changed = classifier(base)
    changed.bert.pooler.dense.weight.data += 1
    changed.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "other")
    found = load("a", base=str(tmp_path / "other"), catalog=catalog).logits(TEXTS)
    assert (found - expected).abs().max() <= 1e-5


def test_composing_it_is_an_error_that_says_what_can_be_composed(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    for seed, name in enumerate("ab"):
        save("ia3", base, tmp_path / name, seed)
        publish_folder(catalog, tmp_path / name, AdapterRef.parse(name), task="film", labels=LABELS)
    expected = "a@1 is of the method ia3, .* It combines seq_bn, double_seq_bn, par_bn"
    with pytest.raises(CompositionError, match=expected):
        publish_stack(catalog, AdapterRef.parse("s"), [AdapterRef.parse(name) for name in "ab"])
    assert len(search(catalog).items) == 2


@pytest.mark.parametrize(
    ("architecture", "targets", "whole", "reason"),
    [
        ("bert", ["query"], ["word_embeddings"], "holds bert.embeddings.word_embeddings.weight"),
        ("llama", ["q_proj"], ["norm"], r"holds model\.\S*norm.weight as a whole"),
        ("modernbert", "all-linear", None, "updates head.dense, which is a part of the head"),
    ],
)
def test_attaching_a_lora_that_changes_more_is_refused(
    tmp_path: Path, architecture: str, targets: Any, whole: list[str] | None, reason: str
) -> None:
    base = base_folder(tmp_path / "base", architecture)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=targets, modules_to_save=whole
    )
    save("lora", base, tmp_path / "a", config=config)
    with pytest.raises(AdapterError, match=f"a: it {reason}.*it runs through PEFT"):
        Adapter.load(tmp_path / "a")


def test_without_peft_the_extra_is_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AdapterError, match=r"pip install 'hubkit\[peft\]'"):
        attach_peft(classifier(base), tmp_path, "a@1")


def test_tensors_that_are_missing_or_left_over_are_refused(base: Path, tmp_path: Path) -> None:
    save("ia3", base, tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    lost = next(iter(tensors))
    save_file({name: one for name, one in tensors.items() if name != lost}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns, hubkit refuses
        with pytest.raises(AdapterError, match="only one of both has"):
            attach_peft(classifier(base), tmp_path / "a", "a@1")


def test_embeddings_that_were_saved_along_are_loaded(catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModelForSequenceClassification, num_labels=3)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, **TARGETS)
    model: Any = peft.get_peft_model(classifier(base), config)
    with torch.no_grad():
        model.get_input_embeddings().weight += 0.5
    model.save_pretrained(tmp_path / "a", save_embedding_layers=True)
    ref = AdapterRef.parse("a")
    publish_folder(catalog, tmp_path / "a", ref, task="film", labels=LABELS, base=str(base))
    inputs = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
    assert (load("a", catalog=catalog).logits(TEXTS) - expected).abs().max() <= 1e-5


def test_another_base_model_is_refused_by_its_fingerprint(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    save("ia3", base, tmp_path / "a")
    publish_folder(catalog, tmp_path / "a", AdapterRef.parse("a"), task="film", labels=LABELS)
    other = str(base_folder(tmp_path / "other", seed=9))
    with pytest.raises(BaseModelMismatchError, match="a@1 was trained on"):
        load("a", base=other, catalog=catalog)
    allowed = load("a", base=other, allow_base_mismatch=True, catalog=catalog)
    assert allowed.logits(TEXTS).shape == (3, 3)
    assert torch.equal(load("a", base=other, catalog=catalog).logits(TEXTS), allowed.logits(TEXTS))


def test_a_peft_adapter_without_head_says_that_it_cannot_predict(catalog: Catalog) -> None:
    publish_folder(catalog, PEFT / "lora" / "a", AdapterRef.parse("a"), task="film")
    with pytest.raises(AdapterError, match="a@1 has no head"):
        hubkit.load("a", catalog=catalog)


@pytest.mark.parametrize(
    "options",
    [
        {"layers_to_transform": [0], "layers_pattern": "(.*.*.*.*)*x"},
        {"exclude_modules": "(.*.*.*.*)*x"},
    ],
    ids=["layers", "excluded"],
)
def test_an_expression_that_peft_would_never_match_is_refused_before_it_tries(
    base: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.folders.expressions.MOST_SECONDS", 0.3)
    save("dora", base, tmp_path / "a")
    edit_json(tmp_path / "a", **{**options_in(tmp_path / "a"), **options})
    with pytest.raises(FolderError, match="take too long to match"):
        attach_peft(classifier(base), tmp_path / "a", "a@1")


def test_a_lora_for_an_architecture_without_a_layout_equals_that_of_peft(
    catalog: Catalog, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gpt_neox", **sizes, intermediate_size=32, vocab_size=40, pad_token_id=1
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).base_model.save_pretrained(
        tmp_path / "base"
    )
    tokenizer().save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query_key_value"])
    expected = save("lora", tmp_path / "base", tmp_path / "a", config=config)
    ref = AdapterRef.parse("a")
    publish_folder(catalog, tmp_path / "a", ref, task="film", labels=LABELS)
    model = load("a", catalog=catalog)
    assert model.composition is None, "PEFT runs it"
    assert (model.logits(TEXTS) - expected).abs().max() <= 1e-5


WORDS = "the film was very good a dull plot"


def prompted(
    task: str, auto_class: Any, folder: Path, catalog: Catalog, architecture: str = "bert"
) -> tuple[Any, Any]:
    """A model of PEFT with a learned prompt, and the same by hubkit."""
    classes = {"num_labels": 3} if task == "TOKEN_CLS" else {}
    base = base_folder(folder / "base", architecture, auto_class, **classes)
    config = peft.PromptTuningConfig(task_type=task, num_virtual_tokens=3)
    torch.manual_seed(0)
    model: Any = peft.get_peft_model(auto_class.from_pretrained(base), config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.5 * torch.randn_like(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder / "a")
    labels = LABELS if classes else ()
    ref = AdapterRef.parse("a")
    publish_folder(catalog, folder / "a", ref, task="t", labels=labels, base=str(base))
    return model, load("a", catalog=catalog)


def test_the_tags_of_tokens_are_theirs_where_a_prompt_was_learned(
    catalog: Catalog, tmp_path: Path
) -> None:
    theirs, ours = prompted("TOKEN_CLS", AutoModelForTokenClassification, tmp_path, catalog)
    inputs = tokenizer()(WORDS, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).logits[0, 3:][1:-1].argmax(-1).tolist()
    assert len(set(expected)) > 1
    (found,) = ours.predict([WORDS.split()])
    assert [LABELS.index(tag) for tag in found.tags] == expected


def test_the_ends_of_an_answer_are_in_the_text_where_a_prompt_was_learned(
    catalog: Catalog, tmp_path: Path
) -> None:
    theirs, ours = prompted("QUESTION_ANS", AutoModelForQuestionAnswering, tmp_path, catalog)
    inputs = dict(tokenizer()("was it good", WORDS, return_tensors="pt"))
    with torch.no_grad():
        found = theirs(**inputs)
    (ends,) = ours.task.run(ours.model, inputs, ours.task.options())[1]
    assert torch.equal(ends[..., 0], found.start_logits[:, 3:])
    assert ours.predict([{"question": "was it good", "context": WORDS}])[0].answer in WORDS


def test_a_learned_prompt_counts_in_an_embedding(catalog: Catalog, tmp_path: Path) -> None:
    theirs, ours = prompted("FEATURE_EXTRACTION", AutoModel, tmp_path, catalog)
    inputs = tokenizer()(WORDS, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).last_hidden_state[0].mean(0)
    (found,) = ours.predict([WORDS])
    torch.testing.assert_close(torch.tensor(found.embedding), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_a_learned_prompt_takes_places_from_what_is_written(
    catalog: Catalog, tmp_path: Path
) -> None:
    _, ours = prompted("CAUSAL_LM", AutoModelForCausalLM, tmp_path, catalog, "gpt2")
    assert ours.predict([WORDS], max_new_tokens=100, min_new_tokens=100)


def test_what_peft_does_not_run_on_an_architecture_is_an_error(
    catalog: Catalog, tmp_path: Path
) -> None:
    _, ours = prompted(
        "QUESTION_ANS", AutoModelForQuestionAnswering, tmp_path, catalog, architecture="bart"
    )
    with pytest.raises(AdapterError, match=r"PEFT cannot run a@1 \(prompt_tuning\) for question"):
        ours.predict([{"question": "was it good", "context": WORDS}])
