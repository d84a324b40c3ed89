from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubkit import Adapter
from hubkit.bases.describe import describe
from hubkit.formats.heads import Head, read_head, write_head
from hubkit.models.head import head_of, set_head
from registry import BaseModelInfo
from registry.errors import AdapterError
from tests.support.foreign import HEAD, copy, edit
from tests.support.models import ARCHITECTURES, REFERENCES, run, same, tiny_classifier


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_survives_a_round_trip(architecture: str, tmp_path: Path) -> None:
    names = {0: "no", 1: "yes"}
    model = tiny_classifier(architecture, id2label=names, label2id={"no": 0, "yes": 1})
    head = head_of(model)
    assert head is not None
    write_head(tmp_path, head, name="a", model_type=architecture, base=describe(model))
    found = read_head(tmp_path)
    assert found is not None
    assert (found.model_class, found.labels) == (type(model).__name__, ("no", "yes"))
    assert same(dict(sorted(found.tensors.items())), dict(sorted(head.tensors.items())))
    other = tiny_classifier(architecture)
    with torch.no_grad():
        for name in head.tensors:
            other.get_parameter(name).zero_()
    set_head(other, found)
    assert torch.equal(run(other), run(model))


def test_a_folder_without_a_head_has_none(tmp_path: Path) -> None:
    assert read_head(tmp_path) is None


def test_a_head_that_hubkit_only_keeps_is_left_out_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    edit(
        folder / "head_config.json", lambda it: it["config"].update(head_type="dependency_parsing")
    )
    assert Adapter.load(folder).head is None
    told = (
        f"{folder / 'head_config.json'} describes a head of AdapterHub's own (dependency_parsing)"
    )
    assert told in caplog.text
    caplog.clear()
    Adapter.load(folder, with_head=False)
    assert caplog.text == ""


FLEXIBLE = sorted(REFERENCES.glob("*/flexible/*/"))


@pytest.mark.parametrize("folder", FLEXIBLE, ids=lambda folder: f"{folder.parts[-3]}-{folder.name}")
def test_a_flexible_head_is_written_as_it_was_read(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "head_config.json").read_text())
    adapter = Adapter.load(folder, base=BaseModelInfo(id=config["model_name"]))
    adapter.save(tmp_path)
    found, written = load_file(tmp_path / "model_head.safetensors"), config | {"hidden_size": None}
    assert same(found, dict(sorted(load_file(folder / "model_head.safetensors").items())))
    if adapter.head is not None and not adapter.head.labels:
        written["config"]["label2id"] = None  # which the library numbers again
    assert json.loads((tmp_path / "head_config.json").read_text()) == written


def test_the_head_of_another_name_beside_it_is_none_of_its(tmp_path: Path) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    tensors = load_file(folder / "model_head.safetensors")
    # The library writes the tensors of all heads whose names start alike.
    others = {name.replace("topic", "topic2"): tensor + 1 for name, tensor in tensors.items()}
    save_file(tensors | others, folder / "model_head.safetensors")
    found, expected = read_head(folder), read_head(HEAD)
    assert found is not None
    assert expected is not None
    assert same({**found.tensors}, {**expected.tensors})
    edit(folder / "head_config.json", lambda config: config | {"name": "sport"})
    with pytest.raises(AdapterError, match=r"'sport' begin with 'heads\.sport\.'; found 'heads"):
        read_head(folder)


def written(tmp_path: Path, labels: tuple[str, ...] = ("no", "yes")) -> Path:
    model = tiny_classifier()
    head = Head(
        "BertForSequenceClassification", labels, {"classifier.bias": torch.zeros(2)}, "bert"
    )
    write_head(tmp_path, head, name="a", model_type="bert", base=describe(model))
    return tmp_path / "head_config.json"


def test_the_order_of_labels_is_that_of_their_ids(tmp_path: Path) -> None:
    path = written(tmp_path, ("zebra", "ant", "10"))
    assert json.loads(path.read_text())["label2id"] == {"zebra": 0, "ant": 1, "10": 2}
    found = read_head(tmp_path)
    assert found is not None
    assert found.labels == ("zebra", "ant", "10")


@pytest.mark.parametrize(
    "label_ids", [{"a": 1, "b": 2}, {"a": 0, "b": 2}, {"a": 0, "b": 0}, ["a", "b"], {"a": "x"}]
)
def test_labels_that_are_not_numbered_from_zero_are_refused(
    tmp_path: Path, label_ids: object
) -> None:
    path = written(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"label2id": label_ids}))
    with pytest.raises(AdapterError, match="label2id must number its labels from 0"):
        read_head(tmp_path)


def test_a_head_without_its_weights_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "model_head.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"neither model_head\.safetensors nor"):
        read_head(tmp_path)
