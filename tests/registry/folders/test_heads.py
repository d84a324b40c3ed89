import json
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FolderError
from registry.folders import Given, read_folder
from tests.registry.folders.conftest import BASE, SEQ, adapterhub
from tests.support.foreign import HEAD, copy, edit, reshape, write_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter.safetensors"


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return copy(HEAD, tmp_path / "topic")


def test_a_head_beside_an_adapter_brings_its_labels() -> None:
    manifest = read_folder(HEAD).manifest
    assert (manifest.method.type, manifest.labels) == ("seq_bn", ("no", "yes"))
    assert manifest.task_type == "text-classification"


def test_a_head_alone_is_published_too(head: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        (head / name).unlink()
    manifest = read_folder(head).manifest
    assert (manifest.kind, manifest.method.type) == ("adapter", "head")
    assert manifest.labels == ("no", "yes")


def test_the_head_of_a_transformers_class_is_read(head: Path) -> None:
    edit(
        head / "head_config.json",
        lambda config: {
            **config,
            "config": None,
            "label2id": {"b": 1, "a": 0},
            "model_class": "BertForTokenClassification",
        },
    )
    reshape(
        head / "model_head.safetensors",
        lambda _: {"classifier.bias": (2,), "classifier.weight": (2, 32)},
    )
    manifest = read_folder(head).manifest
    assert (manifest.labels, manifest.task_type) == (("a", "b"), "token-classification")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"no": 0, "yes": 1, "maybe": 2},
            "2 classes, but its configuration names 3",
        ),
        ({"no": 1, "yes": 2}, "label2id must number its labels from 0"),
        ({"no": "0", "yes": "1"}, "label2id must number its labels from 0"),
        ({"no": 0.0, "yes": 1.0}, "label2id must number its labels from 0"),
        ({"no": False, "yes": True}, "label2id must number its labels from 0"),
        (["no", "yes"], "label2id must number its labels from 0"),
    ],
)
def test_labels_that_disagree_with_the_head_are_refused(
    head: Path, labels: Any, message: str
) -> None:
    edit(head / "head_config.json", lambda config: config["config"].update(label2id=labels))
    with pytest.raises(FolderError, match=message):
        read_folder(head)


@pytest.mark.parametrize("config", ["classification", ["classification"], False, {}])
def test_a_head_whose_options_are_none_is_refused(head: Path, config: Any) -> None:
    edit(head / "head_config.json", lambda content: content.update(config=config))
    with pytest.raises(FolderError, match=r"config is .*; expected the options of a head"):
        read_folder(head)


def test_given_labels_name_those_of_a_head_that_does_not(head: Path) -> None:
    with pytest.raises(FolderError, match="names its labels no, yes, but n, y were given"):
        read_folder(head, Given(labels=("n", "y")))
    assert read_folder(head, Given(labels=("no", "yes"))).manifest.labels == ("no", "yes")
    edit(head / "head_config.json", lambda config: config["config"].pop("label2id") and None)
    with pytest.raises(FolderError, match=r"2 classes,"):
        read_folder(head)
    assert read_folder(head, Given(labels=("n", "y"))).manifest.labels == ("n", "y")
    with pytest.raises(FolderError, match="2 classes, but there are 1 labels"):
        read_folder(head, Given(labels=("n",)))


@pytest.mark.parametrize(
    ("head", "task_type"),
    [
        ("image_classification", "image-classification"),
        ("classification", "text-classification"),
        ("tagging", "token-classification"),
    ],
)
def test_a_head_is_for_what_its_type_says(tmp_path: Path, head: str, task_type: str) -> None:
    folder = adapterhub(tmp_path / "a", SEQ)
    labels = {"cat": 0, "dog": 1, "cow": 2}
    config = {"head_type": head, "num_labels": 3, "layers": 1, "label2id": labels}
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": "x"}))
    write_tensors(folder / "model_head.safetensors", {"heads.x.1.weight": (3, 8)})
    manifest = read_folder(folder, BASE).manifest
    assert (manifest.task_type, manifest.labels) == (task_type, ("cat", "dog", "cow"))


def test_a_head_that_chooses_has_one_output_for_all_choices(tmp_path: Path) -> None:
    folder = adapterhub(tmp_path / "a", SEQ)
    labels = {f"LABEL_{number}": number for number in range(4)}
    config = {"head_type": "multiple_choice", "num_choices": 4, "layers": 1, "label2id": labels}
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": "x"}))
    write_tensors(folder / "model_head.safetensors", {"heads.x.1.weight": (1, 8)})
    assert read_folder(folder, BASE).manifest.task_type == "multiple-choice"
