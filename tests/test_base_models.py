from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModel

from hubkit.base_models import describe, encode, load_model, load_tokenizer
from registry.errors import BaseModelNotFoundError
from tests.support.foreign import FIXTURES
from tests.support.models import base_folder, tokenizer


@pytest.mark.parametrize(("max_length", "tokens"), [(8, 8), (1000, 32)])
def test_a_text_is_cut_where_it_is_asked_to_be_or_where_the_base_model_ends(
    max_length: int, tokens: int
) -> None:
    encoded = encode(tokenizer(), ["film " * 100], max_length)
    assert len(encoded["input_ids"][0]) == tokens


def test_a_tokenizer_without_a_limit_gets_that_of_the_model(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base")
    unlimited = tokenizer()
    unlimited.model_max_length = int(1e30)
    unlimited.save_pretrained(folder)
    model = load_model(str(folder), AutoModel)
    assert load_tokenizer(str(folder), model).model_max_length == 40


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


def test_what_a_base_model_is_comes_from_its_folder(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base")
    info = describe(load_model(str(folder), AutoModel))
    assert info.id == str(folder.resolve())
    assert (info.architecture, info.hidden_size, info.num_layers) == ("BertModel", 16, 2)


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
