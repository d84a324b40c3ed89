from __future__ import annotations

from typing import Any

import pytest

from hubkit.adapters.older import completed
from hubkit.formats.heads import Head
from registry.manifest import Manifest, TextInfo

HEAD = Head(
    "BertForSequenceClassification",
    labels=("a", "b"),
    tensors={},
    backbone="bert",
    outputs=2,
    problem_type="multi_label_classification",
)


def manifest(**facts: Any) -> Manifest:
    base = {"id": "b", "revision": None, "architecture": "bert", "hidden_size": 8}
    method = {"type": "seq_bn", "parameters": {}}
    return Manifest.model_validate(
        {"kind": "adapter", "method": method, "base_model": base, "files": {}} | facts
    )


@pytest.mark.parametrize("given", [{"max_length": 7}, {"max_length": "many"}, {}])
def test_the_number_of_tokens_is_that_of_the_training(given: dict[str, Any]) -> None:
    training = {"arguments": given, "seed": 1, "examples": 2, "seconds": 1.0}
    limit = 7 if given.get("max_length") == 7 else None
    assert completed(manifest(training=training), None).text == TextInfo(max_length=limit)


def test_the_problem_type_is_that_of_the_files_of_the_head() -> None:
    assert completed(manifest(), HEAD).problem_type == HEAD.problem_type
    assert completed(manifest(), None).problem_type is None


def test_what_a_manifest_says_stays() -> None:
    text = TextInfo(max_length=3, padding_side="left")
    said = manifest(text=text, labels=["a", "b"], problem_type="single_label_classification")
    assert completed(said, HEAD) == said
