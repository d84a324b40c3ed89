from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hubkit import Adapter
from hubkit.bases.load import describe
from hubkit.formats.heads import Head, read_head, write_head
from hubkit.models.head import head_of, set_head
from registry.errors import AdapterError
from tests.support.models import ARCHITECTURES, REFERENCES, run, same, tiny_classifier


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_survives_a_round_trip(architecture: str, tmp_path: Path) -> None:
    names = {0: "no", 1: "yes"}
    model = tiny_classifier(architecture, id2label=names, label2id={"no": 0, "yes": 1})
    head = head_of(model)
    assert head is not None
    write_head(tmp_path, head, model_type=architecture, base=describe(model))
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


def test_a_flexible_head_is_left_out_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    folder = REFERENCES / "bert" / "heads" / "topic"
    assert Adapter.load(folder).head is None
    assert f"{folder / 'head_config.json'} describes a head of AdapterHub's own (classif" in (
        caplog.text
    )
    caplog.clear()
    Adapter.load(folder, with_head=False)
    assert caplog.text == ""


def written(tmp_path: Path, labels: tuple[str, ...] = ("no", "yes")) -> Path:
    model = tiny_classifier()
    head = Head(
        "BertForSequenceClassification", labels, {"classifier.bias": torch.zeros(2)}, "bert"
    )
    write_head(tmp_path, head, model_type="bert", base=describe(model))
    return tmp_path / "head_config.json"


def test_the_order_of_labels_is_that_of_their_ids(tmp_path: Path) -> None:
    path = written(tmp_path, ("zebra", "ant", "10"))
    assert json.loads(path.read_text())["label2id"] == {"zebra": 0, "ant": 1, "10": 2}
    found = read_head(tmp_path)
    assert found is not None
    assert found.labels == ("zebra", "ant", "10")


@pytest.mark.parametrize("label_ids", [{"a": 1, "b": 2}, {"a": 0, "b": 2}, {"a": 0, "b": 0}])
def test_labels_that_are_not_numbered_from_zero_are_refused(
    tmp_path: Path, label_ids: dict[str, int]
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
