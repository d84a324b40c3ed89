from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase, Replace
from tokenizers.pre_tokenizers import Digits, Whitespace, WhitespaceSplit
from tokenizers.processors import ByteLevel, TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast, ViTImageProcessor

from hubkit.bases.compare import compare
from hubkit.bases.tokenization import (
    described_processor,
    image_processor_digest,
    tokenizer_digest,
    tokenizer_settings,
)
from registry.manifest import BaseModelInfo

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


def spelled(model: Any, **parts: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer(model)
    for name, part in parts.items():
        setattr(backend, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


VOCABULARY = {"[UNK]": 0, "a": 1, "b": 2, "ab": 3}


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (
            spelled(WordPiece(VOCABULARY, unk_token="[UNK]")),
            spelled(WordPiece(VOCABULARY, unk_token="[UNK]", max_input_chars_per_word=9000)),
            "model.max_input_chars_per_word",
        ),
        (
            spelled(BPE(VOCABULARY, [("a", "b")])),
            spelled(BPE(VOCABULARY, [("a", "b")], byte_fallback=True)),
            "model.byte_fallback",
        ),
        (
            spelled(BPE(VOCABULARY, [("a", "b")], fuse_unk=True)),
            spelled(BPE(VOCABULARY, [("a", "b")])),
            "model.fuse_unk",
        ),
        (
            spelled(BPE(VOCABULARY, []), normalizer=BertNormalizer(strip_accents=False)),
            spelled(BPE(VOCABULARY, []), normalizer=BertNormalizer(strip_accents=None)),
            "normalizer.strip_accents",
        ),
        (
            spelled(BPE(VOCABULARY, []), normalizer=Replace("\u201c", '"')),
            spelled(BPE(VOCABULARY, [])),
            "normalizer",
        ),
        (
            spelled(BPE(VOCABULARY, []), pre_tokenizer=Digits(individual_digits=True)),
            spelled(BPE(VOCABULARY, []), pre_tokenizer=Digits(individual_digits=False)),
            "pre_tokenizer.individual_digits",
        ),
        (
            spelled(BPE(VOCABULARY, []), post_processor=ByteLevel(trim_offsets=True)),
            spelled(BPE(VOCABULARY, []), post_processor=ByteLevel(trim_offsets=False)),
            "trim_offsets",
        ),
        (
            tokenizer(clean_up_tokenization_spaces=True),
            tokenizer(),
            "clean_up_tokenization_spaces",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rules_that_few_texts_show_count_and_are_named(one: Any, other: Any, name: str) -> None:
    bases = [BaseModelInfo(id="b", **described_processor(token)) for token in (one, other)]
    found = compare(*bases).differences
    assert f"{name} of the tokenizer" in " ".join(found)
    assert compare(bases[0], bases[0]).same


def test_how_a_word_that_was_added_is_found_counts() -> None:
    found = []
    for strips in (True, False):
        one = tokenizer()
        one.add_tokens([AddedToken("<x>", lstrip=strips, normalized=False)])
        found.append(tokenizer_settings(one)["added_tokens"])
    assert found[0] != found[1]


def test_rules_are_the_same_however_a_version_of_transformers_writes_them(tmp_path: Path) -> None:
    # 4.57 writes the one for GPT-2, and 5 the other.
    alike = [
        spelled(BPE(VOCABULARY, []), post_processor=post_processor)
        for post_processor in (ByteLevel(trim_offsets=False), TemplateProcessing(single="$A"))
    ]
    alike[0].add_special_tokens({"eos_token": AddedToken("[UNK]", normalized=True)})
    alike[1].add_special_tokens({"eos_token": AddedToken("[UNK]", normalized=False)})
    alike[0].save_pretrained(tmp_path)
    alike.append(AutoTokenizer.from_pretrained(tmp_path))
    settings = [tokenizer_settings(one) for one in alike]
    assert settings[0] == settings[1] == settings[2]
    alike[0](["a", "ab"], padding=False, truncation=True, max_length=2)
    assert tokenizer_settings(alike[0]) == settings[0]


def test_a_manifest_takes_any_rule() -> None:
    odd = spelled(BPE(VOCABULARY, []), normalizer=Replace("\x00", "\u2581" * 99))
    made = BaseModelInfo(id="b", **described_processor(odd))
    assert BaseModelInfo.model_validate_json(made.model_dump_json()) == made


def test_an_image_processor_is_known_by_what_it_does() -> None:
    one = image_processor_digest(ViTImageProcessor())
    assert one == image_processor_digest(ViTImageProcessor())
    assert one != image_processor_digest(ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]))


def test_words_that_are_only_spaces_and_line_breaks_in_bytes_are_taken() -> None:
    one = tokenizer([*WORDS, "\u0120", "\u010a\u010a"])
    assert tokenizer_digest(one) != tokenizer_digest(tokenizer())
