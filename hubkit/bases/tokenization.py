"""A digest of what a tokenizer does."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

_TEXTS = (
    "The quick brown fox, 12 345.67 km (\u2248 8\u00bd%) away: it's don't-know \u2014 OK?!",
    *("\t a  b\n\nc ", "", "a@b.com https://x.y/z?q=1#f #tag @user $5.00 x_y CamelCase"),
    "\u00c9COLE \u00e9cole e\u0301cole Stra\u00dfe \u0130stanbul \ufb01ne \uff21\uff22\uff23",
    "\u6771\u4eac\u90fd\u306b\u884c\u304f \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u0639\u0631\u0628\u064a \ud55c\uad6d\uc5b4 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u00a0\u200b\u3000\u0000\ufeff",
)
_WORDS = 256
_ADDED = 64
_SHOWN = 64
_PARTS = ("normalizer", "pre_tokenizer", "decoder")
_DOES_NOT_COUNT = re.compile(
    # Names, files and versions; special tokens, which are digested as words; what is decided anew
    # for each call.
    r"^_|_file$|_token$|_tokens$|_class$|_path$|_side$|_lang$|^(auto_map|backend|chat_template"
    r"|is_local|local_files_only|model_max_length|max_length|model_input_names|name_or_path"
    r"|added_tokens_decoder|files_loaded|model_specific_special_tokens|padding|truncation)$"
)
_MARKS = "#\u2581\u0120\u010a "


def described_processor(
    processor: PreTrainedTokenizerBase | BaseImageProcessor,
) -> dict[str, Any]:
    """The fields of a manifest about a base model's tokenizer or image processor."""
    if not isinstance(processor, PreTrainedTokenizerBase):
        return {"tokenizer_digest": image_processor_digest(processor)}
    return {
        "tokenizer_digest": tokenizer_digest(processor),
        "tokenizer_settings": tokenizer_settings(processor),
    }


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 (64 hex digits) over what a tokenizer makes of text.

    It covers the vocabulary with its ids, merges and scores, and the ids that the tokenizer gives
    to certain texts: these show how it normalises and cuts text, and which special tokens it adds.
    So two ways to write down the same tokenizer have one digest. Settings of each call do not
    count: padding, truncation and their sides, the length of the model, and the padding token.
    """
    digest = hashlib.sha256()
    vocabulary = tokenizer.get_vocab()
    _add(digest, sorted(vocabulary.items()))
    _add(digest, _model(tokenizer))
    texts = [*_TEXTS, *_probes(tokenizer, vocabulary)]
    for arguments in ((texts,), (texts[:16], texts[1:17])):
        encoded = tokenizer(*arguments, truncation=False, padding=False, verbose=False)
        for name in ("input_ids", "token_type_ids"):
            _add(digest, encoded.get(name))
    return digest.hexdigest()


def tokenizer_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, JsonValue]:
    """The rules by which a tokenizer normalises, cuts, joins and spells text, by their names.

    No set of texts shows all of them: how long a word may be, what an unknown character becomes,
    where a token ends in the text. Those of a tokenizer that is written in Python are what it is
    made with. A text of more than 64 characters, and what is nested, is given by its digest. They
    are equal for the files that transformers 4.57 and 5 write of one checkpoint; what the ids of
    texts show is left to :func:`tokenizer_digest`, as it is written down in several ways.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        made: dict[str, Any] = {
            k: v for k, v in tokenizer.init_kwargs.items() if not _DOES_NOT_COUNT.search(k)
        }
        found: dict[str, JsonValue] = {
            f"made_with.{name}": _plain(made[name]) for name in sorted(made)
        }
    else:
        whole = json.loads(backend.to_str())
        model = {k: v for k, v in whole["model"].items() if k not in ("vocab", "merges")}
        found = {}
        for name, part in ((name, whole[name]) for name in _PARTS):
            found[name] = _kinds(part)
            found.update(_leaves(name, part))
        found["model"] = model.pop("type", None)
        found.update(_leaves("model", model))
        # Ids that a model has written are spelled by it.
        found["clean_up_tokenization_spaces"] = tokenizer.clean_up_tokenization_spaces
        found["trim_offsets"] = '"trim_offsets": true' in json.dumps(whole["post_processor"])
    normalizes = backend is not None and backend.normalizer is not None
    found["added_tokens"] = _plain(
        sorted(
            (number, one.content, one.single_word, one.lstrip, one.rstrip, one.special)
            + ((one.normalized,) if normalizes else ())
            for number, one in tokenizer.added_tokens_decoder.items()
        )
    )
    return found


def _kinds(part: dict[str, Any] | None) -> str | None:
    """What a part of a tokenizer is made of, such as ``Sequence(NFD, Lowercase)``."""
    if part is None:
        return None
    inside = [_kinds(one) or "" for value in part.values() if _is_steps(value) for one in value]
    return f"{part['type']}({', '.join(inside)})" if inside else str(part["type"])


def _leaves(name: str, part: dict[str, Any] | None) -> Iterator[tuple[str, JsonValue]]:
    for key, value in sorted((part or {}).items()):
        if _is_steps(value):
            for number, step in enumerate(value):
                yield from _leaves(f"{name}.{number}", step)
        elif key not in ("type", "prepend_scheme"):
            yield f"{name}.{key}", _plain(value)


def _is_steps(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) and "type" in one for one in value)


def _plain(value: object) -> JsonValue:
    """A value as a manifest holds it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and value.isprintable() and len(value) <= _SHOWN:
        return value
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def image_processor_digest(processor: BaseImageProcessor) -> str:
    """SHA-256 (64 hex digits) over the settings of an image processor."""
    told = json.loads(processor.to_json_string())
    names = {"image_processor_type", "processor_class", "feature_extractor_type", "device"}
    digest = hashlib.sha256()
    _add(digest, {k: v for k, v in told.items() if v is not None and k not in names})
    return digest.hexdigest()


def _add(digest: hashlib._Hash, value: object) -> None:
    digest.update(json.dumps(value, sort_keys=True).encode() + b"\n")


def _model(tokenizer: PreTrainedTokenizerBase) -> object:
    """The merges or the scores of a fast tokenizer; what a slow one has shows in its ids alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    model = json.loads(backend.to_str())["model"]
    if isinstance(model.get("vocab"), list):  # a unigram model: pieces with their scores
        return model["vocab"]
    merges = model.get("merges")  # once written as "a b", today as ["a", "b"]
    return merges and [one.split(" ") if isinstance(one, str) else one for one in merges]


def _probes(tokenizer: PreTrainedTokenizerBase, vocabulary: dict[str, int]) -> Iterator[str]:
    """Texts made of the vocabulary's own words, which a small one knows, too."""
    special = set(tokenizer.all_special_tokens)
    words = [
        word.strip(_MARKS).removesuffix("</w>")
        for word, _ in sorted(vocabulary.items(), key=lambda pair: pair[1])
        if word not in special and any(char.isalnum() for char in word)
    ]
    words = words[:: max(1, len(words) // _WORDS)][:_WORDS]
    for word, following in zip(words, words[1:] + words[:1], strict=True):
        yield f"{word} {following}"
        yield f"{word.upper()} {word.title()} {word.lower()}"
        yield f"{word}{following} {word}.{following},{word}-{following}"
        yield f" {word[:1]}\u0301{word[1:]}  {following}\n"
    for token in sorted(map(str, [*special, *tokenizer.get_added_vocab()]))[:_ADDED]:
        word = words[0] if words else "a"
        yield f"{word} {token} {word}{token}{token.lower()}"
