from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    ViTImageProcessor,
)

from hubkit.bases.describe import describe, describe_base_model
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.load import load_backbone, load_for_head, load_model
from hubkit.bases.tokenization import image_processor_digest
from registry.errors import BaseModelNotFoundError
from tests.support.models import base_folder, tiny_model


def test_what_a_base_model_is_comes_from_its_folder(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base")
    info = describe(load_model(str(folder), AutoModel))
    assert info.id == str(folder.resolve())
    assert (info.architecture, info.hidden_size, info.num_layers) == ("BertModel", 16, 2)


def test_a_pooler_that_the_base_model_lacks_is_new_and_none_of_its_parts(tmp_path: Path) -> None:
    tiny_model("bert", AutoModelForMaskedLM).save_pretrained(tmp_path)
    _, new = load_for_head(str(tmp_path), AutoModelForSequenceClassification)
    assert "bert.pooler.dense.weight" in new
    assert describe_base_model(str(tmp_path)).parts == {}


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        ("t5", AutoModelForTokenClassification),
        ("t5", AutoModelForQuestionAnswering),
        ("bart", AutoModelForCausalLM),
        ("llama", AutoModelForQuestionAnswering),
    ],
)
def test_a_part_of_a_base_model_is_told_by_the_class_that_saved_it(
    architecture: str, auto_class: Any, tmp_path: Path
) -> None:
    model = tiny_model(architecture, auto_class)
    model.save_pretrained(tmp_path)
    assert fingerprint(load_backbone(str(tmp_path))[0]) == fingerprint(model)


def test_weights_in_shards_or_a_pickle_are_the_same_base_model(tmp_path: Path) -> None:
    expected = describe_base_model(str(base_folder(tmp_path / "whole")))
    model = tiny_model(pad_token_id=1)
    for name in ("shards", "pickle"):
        base_folder(tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "shards", max_shard_size="8KB")
    assert len([*(tmp_path / "shards").glob("model-*.safetensors")]) > 2
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    torch.save(model.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    for name in ("shards", "pickle"):
        found = describe_base_model(str(tmp_path / name))
        assert found.model_copy(update={"id": expected.id}) == expected


def test_a_shard_that_is_missing_is_refused(tmp_path: Path) -> None:
    base_folder(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    tiny_model(pad_token_id=1).save_pretrained(tmp_path / "base", max_shard_size="8KB")
    max((tmp_path / "base").glob("model-*.safetensors")).unlink()
    with pytest.raises(BaseModelNotFoundError):
        describe_base_model(str(tmp_path / "base"))


def test_of_a_model_for_images_the_image_processor_counts(tmp_path: Path) -> None:
    tiny_model("vit").save_pretrained(tmp_path)
    digests = []
    for size in (8, 8, 16):
        processor = ViTImageProcessor(size={"height": size, "width": size})
        processor.save_pretrained(tmp_path)
        found = describe_base_model(str(tmp_path)).tokenizer_digest
        assert found == image_processor_digest(AutoImageProcessor.from_pretrained(tmp_path))
        digests.append(found)
    assert digests[0] == digests[1] != digests[2]
