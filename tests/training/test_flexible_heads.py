"""A flexible head is trained, published and run as any other."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hubkit
from hubkit.measuring.measure import evaluate
from hubkit.tasks.rows import Rows
from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, Catalog
from registry.errors import NoFlexibleHeadError
from tests.support.data import TEXTS, job
from tests.support.models import base_folder

pytest_plugins = ("tests.support.published",)

NAME = AdapterRef.parse("it")


# Each architecture and each method once; `make torture` has all pairs.
QUICK = {
    ("bert", "seq_bn_inv"),
    ("distilbert", "seq_bn"),
    ("gpt2", "par_bn"),
    ("deberta-v2", "lora"),
}


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.torture)
        for pair in product(
            ("bert", "distilbert", "gpt2", "deberta-v2"), ("seq_bn", "par_bn", "seq_bn_inv", "lora")
        )
    ],
)
def test_what_is_trained_is_what_is_loaded(
    empty_catalog: Catalog, tmp_path: Path, architecture: str, method: str
) -> None:
    base = base_folder(tmp_path / "base", architecture)
    flexible = replace(job("it"), head="flexible")
    version = train_adapter(empty_catalog, flexible, base=str(base), method=method)
    manifest = empty_catalog.manifest(version)
    assert (manifest.task_type, manifest.labels) == (
        "text-classification",
        ("negative", "positive"),
    )
    assert manifest.head is not None
    assert manifest.head.modules == ("head",)
    assert manifest.training is not None
    assert manifest.training.arguments["head"] == "flexible"
    model = hubkit.load(NAME, catalog=empty_catalog)
    folder = empty_catalog.folder(version)
    head = load_file(folder / "model_head.safetensors")
    assert {name.split(".", 1)[1] for name in head} == {
        *(f"it.{layer}.{kind}" for layer in (1, 4) for kind in ("weight", "bias"))
    }
    config = json.loads((folder / "head_config.json").read_text())["config"]
    assert (config["layers"], config["label2id"]) == (2, {"negative": 0, "positive": 1})
    for name, tensor in head.items():
        own = name.replace("heads.it.", "head.")
        assert torch.equal(model.model.get_parameter(own), tensor)
    # The validation loss was measured on the model that was trained.
    held_out = {one.name: one.value for one in manifest.metrics}
    assert held_out["loss"] > 0
    assert len(model.predict(TEXTS)) == len(TEXTS)


def test_rows_with_several_labels_train_with_the_loss_of_each(
    empty_catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base")
    plain = job("it", epochs=12)
    labels = [
        ["film"] * ("film" in text) + ["good"] * (label == "positive")
        for text, label in zip(plain.data["text"], plain.data["label"], strict=True)
    ]
    rows = Rows("films", {"text": plain.data["text"], "labels": labels})
    version = train_adapter(
        empty_catalog, replace(plain, data=rows, validation=rows, head="flexible"), base=str(base)
    )
    folder = empty_catalog.folder(version)
    config = json.loads((folder / "head_config.json").read_text())["config"]
    assert config["head_type"] == "multilabel_classification"
    model = hubkit.load(NAME, catalog=empty_catalog)
    assert model.manifest.problem_type == "multi_label_classification"
    measured = {one.name: one.value for one in model.manifest.metrics if one.name != "loss"}
    assert evaluate(model, rows) == pytest.approx(measured, abs=1e-6)
    logits = model.logits(rows["text"])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor([[float(name in row) for name in ("film", "good")] for row in labels])
    )
    told = next(one.value for one in model.manifest.metrics if one.name == "loss")
    assert told == pytest.approx(loss.item(), abs=1e-4)


def test_a_fusion_over_stock_heads_may_have_a_flexible_one(
    trained_catalog: Catalog, base: Path
) -> None:
    fused = replace(job("it"), head="flexible")
    refs = [AdapterRef.parse("a"), AdapterRef.parse("b")]
    version = train_fusion(trained_catalog, fused, refs=refs)
    config = json.loads((trained_catalog.folder(version) / "head_config.json").read_text())
    assert config["config"]["head_type"] == "classification"
    assert len(hubkit.load(NAME, catalog=trained_catalog).predict(TEXTS)) == len(TEXTS)


def test_a_number_has_a_head_of_one_output(empty_catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    plain = job("it")
    rows = Rows("films", {"text": plain.data["text"], "score": [float(i % 5) for i in range(24)]})
    numbers = replace(plain, data=rows, head="flexible", task_type="text-regression")
    train_adapter(empty_catalog, numbers, base=str(base))
    model = hubkit.load(NAME, catalog=empty_catalog)
    assert model.logits(TEXTS).flatten().tolist() == [one.score for one in model.predict(TEXTS)]


def test_choices_have_one(empty_catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    among = [["good", "bad"], ["film", "plot", "ball"]] * 6
    columns = {"prompt": ["the film was"] * 12, "choices": among, "label": [0, 2] * 6}
    asked = replace(
        job("it"), data=Rows("choices", columns), head="flexible", task_type="multiple-choice"
    )
    version = train_adapter(empty_catalog, asked, base=str(base))
    config = json.loads((empty_catalog.folder(version) / "head_config.json").read_text())["config"]
    assert (config["head_type"], config["num_choices"]) == ("multiple_choice", 3)
    model = hubkit.load(NAME, catalog=empty_catalog)
    assert len(model.predict([{"prompt": "the", "choices": ["film", "plot"]}])) == 1


TOKENS: dict[str, tuple[str, dict[str, list[Any]]]] = {
    "token-classification": (
        "tagging",
        {
            "tokens": [["the", "film", "was", "good"], ["a", "dull", "plot"]] * 6,
            "tags": [["O", "B-X", "O", "O"], ["O", "O", "B-X"]] * 6,
        },
    ),
    "question-answering": (
        "question_answering",
        {
            "question": ["what was good"] * 12,
            "context": ["the film was very good", "a great plot was good"] * 6,
            "answers": [
                {"text": ["film"], "answer_start": [4]},
                {"text": ["plot"], "answer_start": [8]},
            ]
            * 6,
        },
    ),
}


@pytest.mark.parametrize("task_type", TOKENS)
def test_tokens_have_one(empty_catalog: Catalog, tmp_path: Path, task_type: str) -> None:
    base = base_folder(tmp_path / "base")
    head_type, columns = TOKENS[task_type]
    rows = Rows("rows", columns)
    asked = replace(job("it"), data=rows, validation=rows, head="flexible", task_type=task_type)
    version = train_adapter(empty_catalog, asked, base=str(base))
    config = json.loads((empty_catalog.folder(version) / "head_config.json").read_text())["config"]
    assert (config["head_type"], config["layers"]) == (head_type, 2)
    model = hubkit.load(NAME, catalog=empty_catalog)
    measured = {one.name: one.value for one in model.manifest.metrics}
    assert evaluate(model, rows) == pytest.approx(
        {name: measured[name] for name in model.task.metrics_up if name in measured}
    )


@pytest.mark.parametrize("task_type", ["fill-mask", "text-generation"])
def test_a_task_type_without_such_a_head_says_so(
    empty_catalog: Catalog, tmp_path: Path, task_type: str
) -> None:
    rows = Rows("texts", {"text": TEXTS * 3})
    asked = replace(job("it"), data=rows, head="flexible", task_type=task_type)
    with pytest.raises(NoFlexibleHeadError, match=f"{task_type} has no flexible head to train"):
        train_adapter(empty_catalog, asked, base=str(base_folder(tmp_path / "base")))
