from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from hubkit.bases.describe import describe, describe_base_model
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.load import load_for_head, load_model, load_tokenizer
from registry.errors import BaseModelNotFoundError, ManifestError
from tests.support.foreign import FIXTURES
from tests.support.models import base_folder, tiny_inputs, tiny_model, tokenizer


def test_a_tokenizer_without_a_limit_gets_that_of_the_model(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base")
    unlimited = tokenizer()
    unlimited.model_max_length = int(1e30)
    unlimited.save_pretrained(folder)
    model = load_model(str(folder), AutoModel)
    assert load_tokenizer(str(folder), model).model_max_length == 40


def test_a_tokenizer_tells_what_fills_up_a_batch_where_the_model_can_be_told(
    tmp_path: Path,
) -> None:
    folder = base_folder(tmp_path)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told["model_input_names"] = ["input_ids"]
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    model = load_model(str(folder), AutoModel)
    assert load_tokenizer(str(folder), model).model_input_names == ["input_ids", "attention_mask"]
    deaf = AutoModel.from_config(AutoConfig.for_model("fnet", hidden_size=16, num_hidden_layers=1))
    assert load_tokenizer(str(folder), deaf).model_input_names == ["input_ids"]


@pytest.mark.parametrize(
    ("model_type", "files"),
    [
        ("bert", "tokenizer.json, vocab.txt"),
        ("gpt2", "merges.txt, tok.*"),
        ("t5", "spiece.model, t.*"),
    ],
)
def test_a_base_model_without_a_tokenizer_is_named_with_the_files_it_lacks(
    model_type: str, files: str
) -> None:
    base = FIXTURES / "adapterhub" / model_type / "base"
    model = load_model(str(base), AutoModel)
    with pytest.raises(
        BaseModelNotFoundError, match=rf"no tokenizer .* that folder \({files}\)\. "
    ):
        load_tokenizer(str(base), model)


def test_a_tokenizer_that_cannot_be_read_is_told_from_the_model(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    (base / "tokenizer.json").write_text("{")
    model = load_model(str(base), AutoModel)
    with pytest.raises(BaseModelNotFoundError, match=rf"{base}' has no tokenizer that"):
        load_tokenizer(str(base), model)


@pytest.mark.parametrize(
    ("exists", "message"),
    [(False, "there is no such folder"), (True, "no model that transformers can read")],
)
def test_a_base_model_that_cannot_be_loaded_is_named(
    exists: bool, message: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    if exists:
        missing.mkdir()
    with pytest.raises(BaseModelNotFoundError, match=message) as caught:
        load_model(str(missing), AutoModel)
    assert str(missing) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layer_norm_eps", "tiny", "'layer_norm_eps' expected float, got str"),
        ("hidden_act", "no-such-function", r"\('no-such-function' is missing\)"),
        ("max_position_embeddings", -1, "negative dimension -1"),
        ("model_type", [], "no model that transformers can read"),
        ("dtype", True, "no model that transformers can read"),
    ],
)
def test_a_configuration_that_makes_no_model_is_told_with_the_reason(
    field: str, value: Any, said: str, tmp_path: Path
) -> None:
    folder = base_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(BaseModelNotFoundError, match=said):
        describe_base_model(str(folder))


def test_a_base_model_without_layers_is_refused(tmp_path: Path) -> None:
    folder = base_folder(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 0}))
    with pytest.raises(ManifestError, match="num_layers"):
        describe_base_model(str(folder))


def test_weights_that_a_backbone_lacks_are_not_made_up(tmp_path: Path) -> None:
    folder = base_folder(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    expected = r"no weights of that size for 1 tensors of BertForSequence.*output\.dense\.bias'"
    with pytest.raises(BaseModelNotFoundError, match=expected):
        load_model(str(folder), AutoModelForSequenceClassification)


def test_what_a_base_model_has_of_a_head_is_not_new(tmp_path: Path) -> None:
    tiny_model("modernbert", AutoModelForMaskedLM).save_pretrained(tmp_path)
    _, new = load_for_head(str(tmp_path), AutoModelForSequenceClassification, num_labels=3)
    assert new == {"classifier.weight", "classifier.bias"}


def test_a_head_for_other_labels_is_new(tmp_path: Path) -> None:
    tiny_model("bert", AutoModelForSequenceClassification, num_labels=5).save_pretrained(tmp_path)
    head = {"classifier.weight", "classifier.bias"}
    for labels, expected in ((5, set()), (3, head)):
        model, new = load_for_head(
            str(tmp_path), AutoModelForSequenceClassification, num_labels=labels
        )
        assert new == expected
        assert model.get_parameter("classifier.bias").shape == (labels,)


def test_a_configuration_of_other_sizes_than_the_weights_is_refused(tmp_path: Path) -> None:
    model = tiny_model("bert")
    model.save_pretrained(tmp_path)
    model.config.intermediate_size = 24
    model.config.save_pretrained(tmp_path)
    with pytest.raises(BaseModelNotFoundError, match="for 6 tensors of BertModel"):
        load_model(str(tmp_path), AutoModel)


def test_a_roberta_whose_tokenizer_names_no_limit_is_cut_where_its_places_end(
    tmp_path: Path,
) -> None:
    base_folder(tmp_path, "roberta")
    unlimited = tokenizer()
    unlimited.model_max_length = int(1e30)
    unlimited.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), AutoModel)
    found = load_tokenizer(str(tmp_path), model)
    # Of its 40 places, those up to that of padding (1) stand for no token.
    assert found.model_max_length == 38
    with torch.no_grad():
        model(**found("film " * 99, truncation=True, return_tensors="pt"))


def in_hub_cache(folder: Path, *revisions: str) -> None:
    """Two commits of team/bert with other weights, as the Hub's cache holds them."""
    for seed, revision in enumerate(revisions):
        base_folder(folder / "snapshots" / revision, seed=seed)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revisions[-1])


def test_the_commit_that_is_asked_for_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = "ab" * 20, "cd" * 20
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    in_hub_cache(tmp_path / "models--team--bert", old, new)
    auto_class = AutoModelForSequenceClassification
    weights = {}
    for revision in (old, new, None):
        model, _ = load_for_head("team/bert", auto_class, revision=revision)
        assert describe(model).revision == (revision or new)
        weights[revision] = fingerprint(model)
    assert weights[None] == weights[new] != weights[old]
    assert describe_base_model("team/bert", old).fingerprint == weights[old]
    assert not caplog.records
    model, _ = load_for_head("team/bert", auto_class, revision="ef" * 20)
    assert fingerprint(model) == weights[new]
    assert "The revision efefefefef" in caplog.text


def test_a_base_model_that_computes_in_pieces_reads_texts_of_any_length(tmp_path: Path) -> None:
    whole, pieces = base_folder(tmp_path / "whole"), base_folder(tmp_path / "pieces")
    config = json.loads((pieces / "config.json").read_text())
    (pieces / "config.json").write_text(json.dumps(config | {"chunk_size_feed_forward": 4}))
    one, other = (load_model(str(folder), AutoModel).eval() for folder in (whole, pieces))
    inputs = tiny_inputs(length=7)
    with pytest.raises(ValueError, match="multiple of"), torch.no_grad():
        AutoModel.from_pretrained(pieces)(**inputs)
    with torch.no_grad():
        assert torch.equal(other(**inputs)[0], one(**inputs)[0])
    assert describe(one).config_digest == describe(other).config_digest
