"""Adapters with AdapterHub's own heads for words: gaps are filled, and texts written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
)

import hubkit
from hubkit import Adapter, attach, set_head, with_flexible_head
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from tests.support.foreign import copy
from tests.support.language import SOURCES, TEXTS, words
from tests.support.models import REFERENCES


def ref(name: str) -> AdapterRef:
    return AdapterRef.parse(name)


def language_base(folder: Path, architecture: str, auto_class: Any) -> Path:
    """A reference base with the head of its class, and a tokenizer that fits."""
    model = auto_class.from_pretrained(REFERENCES / architecture / "base")
    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 1}
    for name, value in ids.items():
        setattr(model.config, name, value)
    settings = {} if auto_class is AutoModelForMaskedLM else {"repetition_penalty": 1.7}
    model.generation_config = GenerationConfig(**ids, **settings)
    model.save_pretrained(folder)
    words(auto_class).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["words", "language"])
def test_gaps_are_filled_by_the_head(catalog: Catalog, tmp_path: Path, name: str) -> None:
    base = language_base(tmp_path / "base", "bert", AutoModelForMaskedLM)
    folder = REFERENCES / "bert" / "flexible" / name
    publish_folder(catalog, folder, ref("it"), base=str(base), task="english")
    text = "the film was [MASK] good"
    model = hubkit.load("it", catalog=catalog)
    assert model.task.name == "fill-mask"
    (found,) = model.predict([text])
    adapter = Adapter.load(folder)
    assert adapter.head is not None
    assert adapter.head.flexible is not None
    own = with_flexible_head(AutoModel.from_pretrained(base).eval(), adapter.head.flexible)
    set_head(own, adapter.head)
    row = words()([text], return_tensors="pt")
    with attach(own, adapter), torch.no_grad():
        scores = own(**row).logits[0].softmax(-1)
    best = scores[int((row["input_ids"][0] == words().mask_token_id).nonzero())].topk(5)
    (gap,) = found.gaps
    assert [one.token for one in gap] == best.indices.tolist()
    assert [one.score for one in gap] == pytest.approx(best.values.tolist(), abs=1e-5)


WRITERS: dict[str, tuple[str, Any, list[str]]] = {
    "gpt2-plain": ("text-generation", AutoModelForCausalLM, TEXTS),
    "t5-words": ("text2text-generation", AutoModelForSeq2SeqLM, SOURCES),
    "bart-words": ("text2text-generation", AutoModelForSeq2SeqLM, SOURCES),
}


@pytest.mark.parametrize("name", WRITERS)
def test_texts_are_written_as_with_the_head_of_the_base_model_where_it_is_the_same(
    catalog: Catalog, tmp_path: Path, name: str
) -> None:
    task_type, auto_class, texts = WRITERS[name]
    architecture, head = name.split("-")
    base = language_base(tmp_path / "base", architecture, auto_class)
    folder = REFERENCES / architecture / "flexible" / head
    publish_folder(catalog, folder, ref("it"), base=str(base), task="words")
    model = hubkit.load("it", catalog=catalog)
    assert model.task.name == task_type
    bare = copy(folder, tmp_path / "bare")
    for path in bare.glob("*head*"):
        path.unlink()
    (bare / "README.md").write_text(f"---\npipeline_tag: {task_type}\n---\n")
    publish_folder(catalog, bare, ref("bare"), base=str(base), task="words")
    other = hubkit.load("bare", catalog=catalog)
    assert type(other.model) is not type(model.model)
    found, expected = (one.predict(texts, max_new_tokens=8) for one in (model, other))
    assert found == expected
    assert len({one.cells() for one in found}) > 1
