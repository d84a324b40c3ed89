"""A tokenizer beside an adapter is compared with the one that hubkit reads texts with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubkit.sharing.own_tokenizer import note_own_tokenizer
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from tests.support.foreign import BASE, PEFT, copy
from tests.support.models import base_folder, tokenizer

ADAPTER = PEFT / "dropout" / "a"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_folder(tmp_path / "base")


def test_tokens_that_were_added_for_the_training_are_noted(tmp_path: Path, base: Path) -> None:
    own = tokenizer()
    own.add_tokens(["<start>", "<end>"])
    own.save_pretrained(tmp_path / "a")
    (note,) = note_own_tokenizer(tmp_path / "a", base)
    assert "reads texts otherwise than the base model's (2 tokens are others, such as" in note
    assert "'<start>'" in note


def test_another_way_to_cut_the_same_words_is_noted(tmp_path: Path, base: Path) -> None:
    tokenizer().save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"]["lowercase"] = not content["normalizer"]["lowercase"]
    file.write_text(json.dumps(content))
    (note,) = note_own_tokenizer(tmp_path / "a", base)
    assert "reads texts otherwise than the base model's. hubkit uses the base model's" in note


def test_the_same_tokenizer_is_not_noted(tmp_path: Path, base: Path) -> None:
    same = tokenizer()
    same.model_max_length = 7
    same.padding_side = "left"
    same.save_pretrained(tmp_path / "a")
    assert note_own_tokenizer(tmp_path / "a", base) == []


def test_without_a_tokenizer_that_can_be_read_there_is_nothing_to_compare(
    tmp_path: Path, base: Path
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    assert note_own_tokenizer(folder, base) == []
    (folder / "tokenizer_config.json").write_text("{}")
    assert note_own_tokenizer(folder, base) == []
    (folder / "tokenizer.json").write_text("{}")
    assert note_own_tokenizer(folder, base) == []


def test_who_publishes_such_a_folder_is_told(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, where = copy(ADAPTER, tmp_path / "a"), copy(BASE, tmp_path / "base")
    tokenizer().save_pretrained(where)
    publish_folder(catalog, folder, AdapterRef(None, "x"), base=str(where), task="t")
    assert "has a tokenizer of its own" not in caplog.text
    own = tokenizer()
    own.add_tokens(["<start>"])
    own.save_pretrained(folder)
    publish_folder(catalog, folder, AdapterRef(None, "y"), base=str(where), task="t")
    assert "has a tokenizer of its own" in caplog.text
