"""Tiny language models with the tokenizers that they need, and rows that they can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
)

from hubkit.tasks.rows import Rows
from tests.support.models import tiny_model, tokenizer

DECODER = AutoModelForCausalLM
ENCODER = AutoModelForMaskedLM
ENCODER_DECODER = AutoModelForSeq2SeqLM

PAIRS = [
    ("the film", "good"),
    ("a plot", "bad ball"),
    ("the ball", "great film"),
    ("very bad", "not dull"),
    ("dull film", "the the"),
    ("good plot", "a ball"),
    ("was great", "was"),
    ("not a ball", "film plot not"),
]
SOURCES = [source for source, _ in PAIRS]
TARGETS = [target for _, target in PAIRS]
TEXTS = [f"{source} was {target}" for source, target in PAIRS]


def pairs() -> Rows:
    """Eight pairs of texts."""
    return Rows("pairs.csv", {"source": SOURCES, "target": TARGETS})


def texts() -> Rows:
    """Eight texts."""
    return Rows("texts.csv", {"text": TEXTS})


def words(auto_class: Any = ENCODER) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for gaps, and one that ends a text; for decoders, no text has it."""
    found = tokenizer()
    found.add_special_tokens({"mask_token": "[MASK]", "eos_token": "[SEP]"})
    if auto_class is DECODER:
        found.backend_tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", 2)]
        )
    return found


def language_model(architecture: str, auto_class: Any, **changes: Any) -> Any:
    """A model in eval mode that begins and ends texts as its tokenizer does."""
    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    if auto_class is ENCODER_DECODER:
        ids["decoder_start_token_id"] = 1
    return tiny_model(architecture, auto_class, **{**ids, **changes})


def language_base(folder: Path, architecture: str, auto_class: Any, **changes: Any) -> Path:
    """Such a model with its tokenizer on disk."""
    language_model(architecture, auto_class, **changes).save_pretrained(folder)
    words(auto_class).save_pretrained(folder)
    return folder
