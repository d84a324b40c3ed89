"""Adapters that people saved with AdapterHub's own heads are published, and predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, TokenClassificationPipeline

import hubkit
from hubkit import Adapter, attach, set_head, with_flexible_head
from hubkit.composing.combine import publish_mix, publish_stack
from hubkit.measuring.measure import evaluate
from hubkit.sharing.publish_folder import publish_folder
from hubkit.tasks.rows import Rows
from hubkit.training.train import train_fusion
from registry import AdapterRef, Catalog, Folder, Manifest, Version
from registry.errors import AdapterError
from registry.folders.hubkit import write_manifest
from tests.support.data import TEXTS, job
from tests.support.foreign import HEAD, copy
from tests.support.models import REFERENCES, tokenizer

FLEXIBLE = REFERENCES / "bert" / "flexible"


def ref(name: str) -> AdapterRef:
    return AdapterRef.parse(name)


def publish(catalog: Catalog, base: Path, name: str) -> None:
    labels: tuple[str, ...] = ()
    folder = FLEXIBLE / name
    publish_folder(catalog, folder, ref(name), base=str(base), task="film", labels=labels)


def by_hand(base: Path, folder: Path, *rows: Mapping[str, Tensor]) -> list[Any]:
    """What the head gives of each row, built by hand on the base model."""
    adapter = Adapter.load(folder)
    assert adapter.head is not None
    assert adapter.head.flexible is not None
    backbone = AutoModel.from_pretrained(base).eval()
    model = with_flexible_head(backbone, adapter.head.flexible)
    set_head(model, adapter.head)
    with attach(model, adapter), torch.no_grad():
        return [model(**row) for row in rows]


def expected_logits(base: Path, folder: Path, texts: list[str]) -> Tensor:
    rows = [tokenizer()([text], return_tensors="pt") for text in texts]
    return torch.cat([found.logits for found in by_hand(base, folder, *rows)])


@pytest.mark.parametrize("name", ["classes", "pooled", "deep"])
def test_one_label_is_the_softmax_of_the_head_in_the_order_of_its_labels(
    catalog: Catalog, base: Path, name: str
) -> None:
    publish(catalog, base, name)
    model = hubkit.load(name, catalog=catalog)
    scores = torch.softmax(expected_logits(base, FLEXIBLE / name, TEXTS), -1)
    for prediction, row in zip(model.predict(TEXTS), scores.tolist(), strict=True):
        assert list(prediction.scores) == ["low", "high", "mid"]
        assert list(prediction.scores.values()) == pytest.approx(row, abs=1e-5)
    assert model.model.config.id2label == {0: "low", 1: "high", 2: "mid"}


def test_several_labels_are_the_sigmoid_of_each(catalog: Catalog, base: Path) -> None:
    publish(catalog, base, "several")
    model = hubkit.load("several", catalog=catalog)
    assert model.manifest.problem_type == "multi_label_classification"
    scores = torch.sigmoid(expected_logits(base, FLEXIBLE / "several", TEXTS))
    for prediction, row in zip(model.predict(TEXTS), scores.tolist(), strict=True):
        assert list(prediction.scores.values()) == pytest.approx(row, abs=1e-5)


def test_several_labels_stay_several_where_a_manifest_does_not_say_it(
    catalog: Catalog, base: Path
) -> None:
    publish(catalog, base, "several")
    version = catalog.resolve(ref("several"))
    # As an earlier hubkit published it.
    manifest = catalog.manifest(version).changed("it", problem_type=None)
    catalog.publish(ref("old"), _folder(catalog, version, manifest))
    model = hubkit.load("old", catalog=catalog)
    assert model.plan.problem_type == "multi_label_classification"


def _folder(catalog: Catalog, version: Version, manifest: Manifest) -> Folder:
    return Folder(manifest, catalog.folder(version))


def test_one_output_is_a_number(catalog: Catalog, base: Path) -> None:
    publish(catalog, base, "number")
    model = hubkit.load("number", catalog=catalog)
    assert (model.task.name, model.labels) == ("text-regression", ())
    numbers = expected_logits(base, FLEXIBLE / "number", TEXTS).flatten().tolist()
    assert [one.score for one in model.predict(TEXTS)] == pytest.approx(numbers, abs=1e-5)


def test_tags_are_those_of_the_stock_pipeline_on_that_model(catalog: Catalog, base: Path) -> None:
    publish(catalog, base, "tags")
    model = hubkit.load("tags", catalog=catalog)
    assert (model.task.name, model.labels) == ("token-classification", ("low", "high", "mid"))
    pipeline = TokenClassificationPipeline(
        model=model.model, tokenizer=tokenizer(), aggregation_strategy="first", device="cpu"
    )
    expected = pipeline(TEXTS)
    for found, entities in zip(model.predict(TEXTS), expected, strict=True):
        assert [(one.label, one.start, one.end) for one in found.entities] == [
            (one["entity_group"], one["start"], one["end"]) for one in entities
        ]
    assert any(expected)
    rows = [tokenizer()([text], return_tensors="pt") for text in TEXTS]
    for text, one in zip(TEXTS, by_hand(base, FLEXIBLE / "tags", *rows), strict=True):
        logits = model.outputs(model.task.given([text]))[0][0]
        torch.testing.assert_close(torch.from_numpy(logits), one.logits, rtol=0, atol=1e-5)


def test_answers_are_read_from_both_ends(catalog: Catalog, base: Path) -> None:
    publish(catalog, base, "answers")
    model = hubkit.load("answers", catalog=catalog)
    question, context = "was the film good", "the film was very good"
    row = tokenizer()(question, context, return_tensors="pt")
    (one,) = by_hand(base, FLEXIBLE / "answers", row)
    rows = model.task.given([{"question": question, "context": context}])
    expected = torch.stack([one.start_logits, one.end_logits], -1)
    found = torch.from_numpy(model.outputs(rows)[0][0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    (answer,) = model.predict([{"question": question, "context": context}])
    assert answer.answer in context


def test_choices_are_weighed_however_many_there_are(catalog: Catalog, base: Path) -> None:
    publish(catalog, base, "choices")  # which was trained to choose between two
    model = hubkit.load("choices", catalog=catalog)
    prompt, among = "the film was", ["good", "very bad", "dull"]
    row = tokenizer()([prompt] * 3, among, padding=True, return_tensors="pt")
    (one,) = by_hand(base, FLEXIBLE / "choices", {key: of[None] for key, of in row.items()})
    (found,) = model.predict([{"prompt": prompt, "choices": among}])
    expected = torch.softmax(one.logits[0], -1).tolist()
    assert list(found.scores.values()) == pytest.approx(expected, abs=1e-5)


def test_they_stack_mix_fuse_and_are_measured(catalog: Catalog, base: Path) -> None:
    for name in ("classes", "deep"):
        publish(catalog, base, name)
    publish_stack(catalog, ref("stack"), [ref("deep"), ref("classes")])
    publish_mix(catalog, ref("mix"), [ref("classes"), ref("deep")], [1.0, 0.0])
    alone, mixed, stacked = (
        hubkit.load(name, catalog=catalog).logits(TEXTS) for name in ("deep", "mix", "stack")
    )
    # A mix has the head of its last part, here on the adapter of its first.
    adapter, head = Adapter.load(FLEXIBLE / "classes"), Adapter.load(FLEXIBLE / "deep").head
    assert head is not None
    assert head.flexible is not None
    model = with_flexible_head(AutoModel.from_pretrained(base).eval(), head.flexible)
    set_head(model, head)
    with attach(model, adapter), torch.no_grad():
        rows = [model(**tokenizer()([text], return_tensors="pt")).logits for text in TEXTS]
    torch.testing.assert_close(mixed, torch.cat(rows), rtol=0, atol=1e-5)
    assert (alone - mixed).abs().max() > 1e-3
    assert stacked.shape == alone.shape
    version = train_fusion(catalog, job("both"), refs=[ref("classes"), ref("deep")])
    assert len(hubkit.load(version.ref, catalog=catalog).predict(TEXTS)) == len(TEXTS)
    rows = Rows("films", {"text": TEXTS, "label": ["low"] * len(TEXTS)})
    found = evaluate(hubkit.load("classes", catalog=catalog), rows)
    predicted = hubkit.load("classes", catalog=catalog).predict(TEXTS)
    share = sum(one.label == "low" for one in predicted) / len(TEXTS)
    assert found["accuracy"] == pytest.approx(share)


def test_labels_of_a_manifest_that_are_not_the_heads_are_refused(
    catalog: Catalog, tmp_path: Path
) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    publish_folder(catalog, folder, ref("it"), task="t")
    manifest = catalog.manifest(catalog.resolve(ref("it")))
    write_manifest(folder, manifest.changed("it", labels=("ja", "nein")))
    with pytest.raises(AdapterError, match="has the labels no, yes, but its manifest says ja, n"):
        publish_folder(catalog, folder, ref("other"))
