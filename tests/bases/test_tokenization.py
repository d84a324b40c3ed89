from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast, ViTImageProcessor

from hubkit.bases.tokenization import image_processor_digest, tokenizer_digest

WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "good", "bad", "film", "dull"]


def tokenizer(
    words: list[str] = WORDS,
    *,
    normalizer: Any = None,
    cut: Any = None,
    cls: bool = True,
    **settings: Any,
) -> PreTrainedTokenizerFast:
    backend = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizer
    backend.pre_tokenizer = cut or Whitespace()
    if cls:
        special = [("[CLS]", words.index("[CLS]"))]
        backend.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", **settings
    )


def test_the_same_tokenizer_has_the_same_digest_after_a_trip_to_disk(tmp_path: Path) -> None:
    one = tokenizer()
    assert tokenizer_digest(one) == tokenizer_digest(tokenizer())
    one.save_pretrained(tmp_path)
    assert tokenizer_digest(AutoTokenizer.from_pretrained(tmp_path)) == tokenizer_digest(one)


def test_what_is_decided_for_each_call_does_not_count() -> None:
    one = tokenizer()
    before = tokenizer_digest(one)
    one(["good", "bad film"], padding=True, truncation=True, max_length=2)
    one.padding_side = one.truncation_side = "left"
    one.model_max_length = 3
    assert tokenizer_digest(one) == before


@pytest.mark.parametrize(
    "other",
    [
        {"words": [*WORDS[:4], *reversed(WORDS[4:])]},
        {"words": [*WORDS, "new"]},
        {"normalizer": Lowercase()},
        {"cut": WhitespaceSplit()},
        {"cls": False},
        {"extra_special_tokens": ["<new>"]},
    ],
)
def test_what_gives_other_ids_counts(other: dict[str, Any]) -> None:
    assert tokenizer_digest(tokenizer(**other)) != tokenizer_digest(tokenizer())


def test_the_order_of_merges_counts() -> None:
    def of(*merges: tuple[str, str]) -> str:
        words = ["a", "b", "c", "ab", "bc", "[UNK]"]
        backend = Tokenizer(BPE({w: i for i, w in enumerate(words)}, [*merges]))
        return tokenizer_digest(PreTrainedTokenizerFast(tokenizer_object=backend))

    assert of(("a", "b"), ("b", "c")) != of(("b", "c"), ("a", "b"))


def test_an_image_processor_is_known_by_what_it_does() -> None:
    one = image_processor_digest(ViTImageProcessor())
    assert one == image_processor_digest(ViTImageProcessor())
    assert one != image_processor_digest(ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]))


def test_words_that_are_only_spaces_and_line_breaks_in_bytes_are_taken() -> None:
    one = tokenizer([*WORDS, "\u0120", "\u010a\u010a"])
    assert tokenizer_digest(one) != tokenizer_digest(tokenizer())
