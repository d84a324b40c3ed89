from __future__ import annotations

from typing import Any

import pytest

from hubkit.bases.compare import base_mismatch, compare, completed, require_base, same_base
from registry.errors import OtherBaseError
from registry.manifest import BaseModelInfo, canonical_digest

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def base(id: str = "bert", *, config: dict[str, Any] | None = None, **facts: Any) -> BaseModelInfo:
    if config is not None:
        facts |= {"config": config, "config_digest": canonical_digest(config)}
    return BaseModelInfo(id=id, **facts)


@pytest.mark.parametrize(
    ("one", "other", "differences"),
    [
        ({"fingerprint": A}, {"fingerprint": A}, []),
        ({"fingerprint": A}, {"fingerprint": B}, ["the weights (expected aaaaaaaaaaaa, found"]),
        ({"hidden_size": 16}, {"fingerprint": B, "hidden_size": 16}, []),
        (
            {"hidden_size": 16},
            {"fingerprint": B, "hidden_size": 32},
            ["the width (expected 16, found 32)"],
        ),
        ({"num_layers": 2}, {"num_layers": 3}, ["the number of layers (expected 2, found 3)"]),
        ({}, {"fingerprint": B, "hidden_size": 32, "num_layers": 3}, []),
        ({"tokenizer_digest": A}, {"tokenizer_digest": B}, ["the tokenizer (expected aaaa"]),
        ({"parts": {"pooler": A}}, {"parts": {"pooler": B}}, ["the weights of the pooler"]),
        ({"parts": {"pooler": A}}, {"parts": {"classifier": B}}, []),
        ({"config_digest": A}, {"config_digest": B}, ["the configuration"]),
        (
            {"generation": {"num_beams": 4}},
            {"generation": {}},
            ["num_beams of the generation configuration (expected 4, found None)"],
        ),
        ({"generation": {"eos_token_id": 2}}, {"generation": {"eos_token_id": [5, 2]}}, []),
        ({"generation": {"forced_bos_token_id": 3}}, {}, []),
        (
            {"tokenizer_settings": {"normalizer": A}},
            {"tokenizer_settings": {"normalizer": B, "new": 1}},
            ["normalizer of the tokenizer (expected aaaaaaaaaaaa, found bbbbbbbbbbbb)"],
        ),
        (
            {"config": {"act": "gelu", "eps": 1e-5}},
            {"config": {"act": "relu", "eps": 1e-5}},
            ["act of the configuration (expected gelu, found relu)"],
        ),
    ],
)
def test_all_that_both_record_is_compared(
    one: dict[str, Any], other: dict[str, Any], differences: list[str]
) -> None:
    found = compare(base(**one), base("other", **other)).differences
    assert len(found) == len(differences)
    for text, start in zip(found, differences, strict=True):
        assert text.startswith(start)
    if differences:
        with pytest.raises(OtherBaseError, match=r"^film@1 was trained on bert, but other diff"):
            require_base("film@1", base(**one), base("other", **other))
    else:
        require_base("film@1", base(**one), base("other", **other))


def test_several_differences_are_told_in_one_sentence() -> None:
    one = base(fingerprint=A, tokenizer_digest=A, config={"heads": 4})
    other = base("other", fingerprint=B, tokenizer_digest=B, config={"heads": 8})
    with pytest.raises(OtherBaseError, match=r"the weights \(.*, heads of .* and the tokenizer"):
        require_base("film@1", one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"fingerprint": A, "rounded": {"bfloat16": B}}, {"fingerprint": B}),
        ({"fingerprint": B}, {"fingerprint": A, "rounded": {"bfloat16": B}}),
        (
            {"fingerprint": A, "rounded": {"bfloat16": C}},
            {"fingerprint": B, "rounded": {"bfloat16": C}},
        ),
    ],
)
def test_the_same_weights_in_another_dtype_are_the_same_base_with_a_note(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    found = compare(base(dtype="float32", **one), base("here", dtype="bfloat16", **other))
    assert found.same
    (note,) = found.notes
    assert note == (
        "The weights of here are those of training in another dtype: float32 in training, "
        "bfloat16 here."
    )


def test_weights_that_agree_only_once_rounded_are_others_in_one_dtype() -> None:
    one = base(fingerprint=A, rounded={"bfloat16": C}, dtype="float32")
    other = base(fingerprint=B, rounded={"bfloat16": C}, dtype="float32")
    assert not compare(one, other).same


def test_an_old_fingerprint_cannot_be_held_to_a_smaller_dtype_and_the_message_says_so() -> None:
    (text,) = compare(base(fingerprint=A), base(fingerprint=B, dtype="bfloat16")).differences
    assert "found bbbbbbbbbbbb in bfloat16" in text
    assert "load them in float32" in text


@pytest.mark.parametrize("other", [None, 7, [7, 8]])
def test_ids_that_training_sets_may_be_open(other: object) -> None:
    one = base(config={"pad_token_id": 7, "text.eos_token_id": 7})
    assert compare(one, base(config={"pad_token_id": other, "text.eos_token_id": other})).same
    assert not compare(one, base(config={"pad_token_id": 8, "text.eos_token_id": 7})).same


def test_a_setting_that_one_side_alone_has_is_noted() -> None:
    found = compare(base(config={"heads": 4}), base(config={"heads": 4, "new": True}))
    assert found.same
    assert found.notes == ("Not compared, as one configuration alone has it: new.",)


def test_what_is_unknown_is_said() -> None:
    known = base(fingerprint=A, tokenizer_digest=A, config={})
    assert compare(base(), known).unknown == ("weights", "configuration", "tokenizer")
    assert compare(known, known).unknown == ()


def test_adapters_without_fingerprints_share_a_base_by_name() -> None:
    assert same_base(base(), base(fingerprint=A))
    assert not same_base(base(), base("other"))
    assert not same_base(base(num_layers=1), base(num_layers=2))
    assert same_base(base(fingerprint=A), base("other", fingerprint=A))
    assert not same_base(
        base(fingerprint=A, tokenizer_digest=A), base(fingerprint=A, tokenizer_digest=B)
    )


def test_what_tells_two_adapters_apart_is_named() -> None:
    one, other = base(fingerprint=A, config={"h": 1}), base(fingerprint=A, config={"h": 2})
    message = str(base_mismatch("a", one, "b", other))
    assert "They differ in h of the configuration (expected 1, found 2)." in message
    assert "publish a again with the base model" in str(base_mismatch("a", base(), "b", other))


def test_a_description_is_completed_and_never_changed() -> None:
    whole = base(
        "other",
        fingerprint=A,
        dtype="float32",
        rounded={"bfloat16": B},
        config={"heads": 4},
        tokenizer_digest=C,
        parts={"pooler": C},
    )
    assert completed(base(), whole) == whole.model_copy(update={"id": "bert"})
    assert completed(whole, base(fingerprint=B, dtype="float16", tokenizer_digest=A)) == whole
    old = completed(base(fingerprint=B), whole)
    assert (old.fingerprint, old.dtype, old.rounded) == (B, None, {})
    assert old.parts == {"pooler": C}


def test_what_counts_for_some_texts_alone_is_noted() -> None:
    one = base(generation={"eos_token_id": 2, "temperature": 0.6})
    other = base(generation={"eos_token_id": [2, 5]})
    assert compare(one, other).notes == (
        "It differs in eos_token_id of the generation configuration (expected 2, found [2, 5]).",
        "It differs in temperature of the generation configuration (expected 0.6, found None).",
    )
