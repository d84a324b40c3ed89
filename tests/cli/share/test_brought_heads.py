"""Heads of other libraries: what is listed of them, who runs them, and what travels."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    TokenClassificationPipeline,
)

from hubkit import attach, load_composition
from tests.support.foreign import BASE, BERT, HEAD, copy, edit
from tests.support.models import reference_base, reference_outputs, tokenizer
from tests.support.models import run as run_model
from tests.support.references import check_close

HEAD_WEIGHTS = "model_head.safetensors"
Run = Callable[..., Result]
# Kind, labels by id, task type, and which layer of the head is the last.
FLEXIBLE: dict[str, tuple[str, dict[str, int] | None, str, int]] = {
    "ner": ("tagging", {"O": 0, "PER": 1}, "token-classification", 1),
    "qa": ("question_answering", None, "question-answering", 1),
}


def add_head(folder: Path, name: str) -> Path:
    """Put a head beside an adapter, as the library saves those that it builds itself."""
    kind, labels, _, layer = FLEXIBLE[name]
    config = json.loads((HEAD / "head_config.json").read_text())
    config["config"] = {"head_type": kind, "label2id": labels, "layers": 1}
    folder.mkdir(exist_ok=True)
    (folder / "head_config.json").write_text(json.dumps(config | {"name": name}))
    tensors = {"weight": torch.ones(2, 32), "bias": torch.ones(2)}
    named = {f"heads.{name}.{layer}.{key}": tensor for key, tensor in tensors.items()}
    save_file(named, folder / HEAD_WEIGHTS)
    return folder


def shown(run: Run, name: str) -> Any:
    return json.loads(run("show", name, "--json").stdout)


def test_the_pickle_that_weights_were_made_of_is_shown(run: Run) -> None:
    folder = BERT / "seq_bn" / "a"
    run("publish", folder, "--name", "a", "--task", "film")
    digest = sha256((folder / "pytorch_adapter.bin").read_bytes()).hexdigest()
    assert f" kB, made of pytorch_adapter.bin (sha256 {digest})" in run("show", "a").stdout


@pytest.mark.parametrize("name", FLEXIBLE)
def test_a_flexible_head_is_listed_and_its_adapter_composes_without_it(
    run: Run, tmp_path: Path, name: str
) -> None:
    folder = add_head(copy(BERT / "seq_bn" / "a", tmp_path / name), name)
    run("publish", folder, "--name", name, "--task", name, "--base", BASE)
    _, labels, task_type, _ = FLEXIBLE[name]
    (listed,) = json.loads(run("list", "--task-type", task_type, "--json").stdout)["adapters"]
    assert (listed["ref"], listed["method"]) == (f"{name}@1", "seq_bn")
    assert shown(run, name)["manifest"]["labels"] == [*(labels or ())]
    inputs, expected = reference_outputs(BERT / "seq_bn")
    model = reference_base("bert")
    with attach(model, load_composition(name)):
        check_close(run_model(model, inputs), expected["single"])


def test_a_head_that_hubkit_does_not_run_is_kept(run: Run, tmp_path: Path) -> None:
    folder = add_head(copy(BERT / "seq_bn" / "a", tmp_path / "a"), "ner")
    parser = {"head_type": "dependency_parsing"}
    save_file({"heads.ner.biaffine_rels.weight": torch.ones(2, 33, 33)}, folder / HEAD_WEIGHTS)
    edit(folder / "head_config.json", lambda config: config | {"config": parser})
    printed = run("publish", folder, "--name", "parser", "--task", "parsing", "--base", BASE)
    assert "Kept, not run by hubkit: a head of a type that" in printed.stderr
    told = run("predict", "parser", "Ada", status=1).stderr
    assert told.startswith("Error: parser@1 has a head (of no task type) of a type that only ")


def test_a_head_without_an_adapter_is_listed_and_kept(run: Run, tmp_path: Path) -> None:
    folder = add_head(tmp_path / "ner", "ner")
    run("publish", folder, "--name", "head", "--task", "ner", "--base", BASE)
    facts = shown(run, "head")
    assert (facts["method"], facts["task_type"]) == ("head", "token-classification")
    assert facts["manifest"]["labels"] == ["O", "PER"]
    assert "head@1 is a head without an adapter" in run("predict", "head", "a", status=1).stderr
    run("publish", BERT / "seq_bn" / "a", "--name", "a", "--task", "ner", "--base", BASE)
    assert "does not combine" in run("stack", "a", "head", "--name", "s", status=1).stderr


def test_a_token_classifier_of_a_transformers_class_predicts(run: Run, tmp_path: Path) -> None:
    base = copy(BASE, tmp_path / "base")
    tokenizer().save_pretrained(base)
    folder = add_head(copy(BERT / "seq_bn" / "a", tmp_path / "ner"), "ner")
    stock = {"config": None, "label2id": {"O": 0, "PER": 1}}
    stock["model_class"] = "BertForTokenClassification"
    edit(folder / "head_config.json", lambda config: config | stock)
    weight = torch.linspace(-1, 1, 64).reshape(2, 32)
    tensors = {"classifier.weight": weight, "classifier.bias": torch.zeros(2)}
    save_file(tensors, folder / HEAD_WEIGHTS)
    run("publish", folder, "--name", "ner", "--task", "ner", "--base", base)
    assert shown(run, "ner")["task_type"] == "token-classification"
    (found,) = json.loads(run("predict", "ner", "the film was good", "--json").stdout)
    model = AutoModelForTokenClassification.from_pretrained(base, id2label={0: "O", 1: "PER"})
    attach(model, load_composition("ner"))
    model.load_state_dict(tensors, strict=False)
    pipeline = TokenClassificationPipeline(
        model=model, tokenizer=tokenizer(), aggregation_strategy="first", device="cpu"
    )
    expected = [(e["entity_group"], e["start"], e["end"]) for e in pipeline("the film was good")]
    assert expected
    assert [(e["label"], e["start"], e["end"]) for e in found["entities"]] == expected


@pytest.mark.parametrize("method", ["seq_bn", "par_bn"])
def test_a_fusion_finds_adapters_with_heads_under_other_names(
    run: Run, tmp_path: Path, method: str
) -> None:
    parents = []
    for part, name in zip("abc", ("zebra", "ada/first", "third"), strict=True):
        folder = add_head(copy(BERT / method / part, tmp_path / part), "ner")
        run("publish", folder, "--name", name, "--task", "ner", "--base", BASE)
        parents += ["--parent", name]
    fusion = ("publish", BERT / method / "fusion_abc", "--name", "all", "--task", "ner")
    run(*fusion, "--base", BASE, *parents)
    made_of = [parent["ref"] for parent in shown(run, "all")["parents"]]
    assert made_of == ["zebra@1", "ada/first@1", "third@1"]
    inputs, expected = reference_outputs(BERT / method)
    model = reference_base("bert")
    with attach(model, load_composition("all")):
        check_close(run_model(model, inputs), expected["fuse_dynamic"])


# PEFT asks transformers by a name that is to go.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_head_in_modules_to_save_predicts_after_a_pull(
    run: Run, base: Path, tmp_path: Path
) -> None:
    labels, texts = ("bad", "good", "dull"), ["the film was good", "a very dull plot"]
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    model = peft.get_peft_model(model, config).eval()
    for index, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
        with torch.no_grad():
            parameter.normal_(generator=torch.Generator().manual_seed(index))
    encoded = AutoTokenizer.from_pretrained(base)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = torch.softmax(model(**encoded).logits, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where the model came from
        model.save_pretrained(tmp_path / "saved")
    named = [word for label in labels for word in ("--label", label)]
    here = str(tmp_path / "here")
    run(
        *("publish", tmp_path / "saved", "--name", "film", "--task", "film", *named),
        HUBKIT_HOME=here,
    )
    run("pull", "film", "--from", here)
    assert shown(run, "film")["manifest"]["labels"] == [*labels]
    found = json.loads(run("predict", "film", *texts, "--json").stdout)
    assert [[*one["scores"]] for one in found] == [[*labels]] * 2
    scores = torch.tensor([[*one["scores"].values()] for one in found])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert [one["label"] for one in found] == [labels[row.argmax()] for row in expected]
