"""A base model of the reference folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import reference_base, tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The BERT of the reference folders, with a tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    model = reference_base("bert")
    model.config.pad_token_id = tokenizer().pad_token_id
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
