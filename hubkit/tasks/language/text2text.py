"""One text to another: what translation, summarization and all else of that form share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import transformers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.bases.decoders import is_decoder
from hubkit.bases.load import load_config, positions
from hubkit.tasks.columns import Column, text
from hubkit.tasks.language.generation import Generating, generate, texts, written
from hubkit.tasks.language.language import (
    NEW_TOKENS,
    GeneratingTask,
    end_token,
    opened,
)
from hubkit.tasks.language.losses import shifted_losses, token_losses
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import encode_each, tokens_read, words
from registry.errors import LanguageCodeError, TextLengthError, UnsupportedModelError, did_you_mean
from registry.manifest import TextInfo
from registry.task_types import TASK_NAMES

_SEPARATOR = "\n"


class Text2Text(GeneratingTask):
    """An encoder reads the source and a decoder writes the target; or a decoder does both.

    A decoder is given the source and a separator, and continues with the target. It learns only the
    target. The separator is recorded, since the source has to end in it in use, too.
    """

    names = TASK_NAMES["text2text-generation"]
    columns = (Column("source", text), Column("target", text, target=True))
    example = "source,target\nHow old is Ada?,36\n"
    metrics_up: ClassVar[Mapping[str, bool]] = MappingProxyType({"exact_match": True, "chrf": True})
    header = ("generated_text",)
    options = Generating
    generates = True

    def load_class(self, base: str) -> Any:
        """That of encoder-decoders, or of decoders."""
        config = load_config(base)
        if is_decoder(config):
            return transformers.AutoModelForCausalLM
        if not config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"The base model {base!r} is a {config.model_type}, which reads texts and writes "
                f"none; {self.name} takes models such as t5 or bart, and decoders such as llama.",
                base,
            )
        return super().load_class(base)

    def prepare(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        plan: HeadPlan,
        info: TextInfo,
    ) -> None:
        """Set the languages, how texts are padded, and how what is written begins and ends."""
        _require_languages(processor, info)
        if info.separator is None and not model.config.is_encoder_decoder:
            info = info.model_copy(update={"separator": _separator(processor)})
        super().prepare(processor, model, plan, info)
        config: Any = model.generation_config
        config.max_new_tokens = info.target_max_length or info.max_length or NEW_TOKENS
        if info.target_language is not None:
            # Where the tokenizer puts the language of a target is where generation has it, too.
            code = processor.convert_tokens_to_ids(info.target_language)
            if _cut_targets(processor, words([10]), info)[0][0][0] == code:
                config.forced_bos_token_id = code
            else:
                config.decoder_start_token_id = code

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """The limits of both texts, and what stands between them."""
        found = super().text_info(processor, model, asked, rows)
        source, target = found.max_length, asked.target_max_length or found.max_length
        if not model.config.is_encoder_decoder and source is not None and target is not None:
            # Both are in one text. Where it has too few places, each may have half of them.
            places = positions(model)
            source = min(source, max(places - target, places // 2))
            target = min(target, places - source)
        return found.model_copy(
            update={
                "max_length": source,
                "target_max_length": target,
                "separator": None if model.config.is_encoder_decoder else _separator(processor),
                "source_language": asked.source_language,
                "target_language": asked.target_language,
            }
        )

    def check_asked(self, asked: TextInfo) -> None:
        """What is written has a length and languages of its own."""

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """The sources; ``labels`` are the targets, where the rows have them.

        For a decoder, ``input_ids`` are the source, the separator and the target, and ``labels``
        are -100 but for the target.
        """
        if text.source_language is not None:
            processor.src_lang = text.source_language
        limit = tokens_read(processor, text.max_length)
        features: dict[str, list[Any]]
        if text.separator is None:
            encoded, lost = encode_each(processor, rows["source"], None, text)
            cut = {*lost}
            features = {name: encoded[name] for name in ("input_ids", "attention_mask")}
            if "target" in rows:
                features["labels"], shortened = _cut_targets(processor, rows["target"], text)
                cut |= shortened
            return Encoded(features, range(len(rows)), len(cut), limit, processor=processor)
        prompts, cut = _prompts(processor, rows["source"], text.separator, text.max_length)
        if "target" not in rows:
            return Encoded(
                {"input_ids": prompts}, range(len(rows)), len(cut), limit, processor=processor
            )
        targets, shortened = _cut_targets(processor, rows["target"], text)
        pairs = list(zip(prompts, targets, strict=True))
        features = {
            "input_ids": [[*prompt, *target] for prompt, target in pairs],
            "labels": [[*[-100] * len(prompt), *target] for prompt, target in pairs],
        }
        both = len(cut | shortened)
        return Encoded(features, range(len(rows)), both, limit, processor=processor)

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss of a target's tokens and their number; or the tokens that are written."""
        if "labels" not in inputs:
            return None, (generate(model, inputs, options),)
        found = model(**inputs)
        losses = token_losses if model.config.is_encoder_decoder else shifted_losses
        return found.loss, losses(found.logits, inputs["labels"])

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """What is written for each source."""
        return written(outputs, encoded)

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """The metrics of what is written, without spaces around it."""
        return self.compare(*_both(outputs, encoded, rows))

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """Those of each text that are means over texts."""
        return self.compare_each(*_both(outputs, encoded, rows))

    def compare(self, found: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
        """How many texts are as expected, and chrF (Popovic 2015) as sacrebleu counts it."""
        (same,) = self.compare_each(found, expected).values()
        return {"exact_match": float(same.mean()), "chrf": chrf(found, expected)}

    def compare_each(
        self, found: Sequence[str], expected: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """Which texts are as expected."""
        same = [one == other for one, other in zip(found, expected, strict=True)]
        return {"exact_match": np.array(same, float)}


def _both(outputs: Outputs, encoded: Encoded, rows: Rows) -> tuple[list[str], list[str]]:
    """What is written and what should be, without spaces around it."""
    found = [one.strip() for one in texts(outputs, encoded)]
    return found, [one.strip() for one in rows["target"]]


def chrf(found: Sequence[str], expected: Sequence[str]) -> float:
    """chrF2 of all texts together, from 0 to 100."""
    from sacrebleu.metrics.chrf import CHRF  # slow to load

    return float(CHRF().corpus_score(list(found), [list(expected)]).score)


def _require_languages(tokenizer: PreTrainedTokenizerBase, info: TextInfo) -> None:
    """Make sure that languages are chosen where the tokenizer has codes for them, and only there.

    Raises:
        LanguageCodeError: They are not, or the tokenizer knows another code.
    """
    codes = _codes(tokenizer)
    for name in ("source_language", "target_language"):
        given = getattr(info, name)
        if given is None and codes:
            raise LanguageCodeError(
                f"The base model has a code for each language: expected a {name}, such as "
                f"{codes[0]}.",
                expected=codes,
            )
        if given is not None and given not in codes:
            known = f"expected one of {', '.join(codes)}" if codes else "its tokenizer has no codes"
            raise LanguageCodeError(
                f"The base model has no language {given!r}: {known}.{did_you_mean(given, codes)}",
                given,
                given=given,
                expected=codes,
            )


def _codes(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The tokenizer's codes for languages, as mBART's and NLLB's have them."""
    if not hasattr(tokenizer, "src_lang"):
        return []
    known: dict[str, int] = getattr(tokenizer, "lang_code_to_id", None) or {}
    return list(known) or [one for one in map(str, tokenizer.all_special_tokens) if "_" in one]


def _separator(tokenizer: PreTrainedTokenizerBase) -> str:
    """A line break where the tokenizer has one, else its token that ends a text."""
    tokens = tokenizer(_SEPARATOR, add_special_tokens=False)["input_ids"]
    if tokens and tokenizer.unk_token_id not in tokens:
        return _SEPARATOR
    return str(tokenizer.convert_ids_to_tokens(end_token(tokenizer)))


def _prompts(
    tokenizer: PreTrainedTokenizerBase, sources: Sequence[str], separator: str, most: int | None
) -> tuple[list[list[int]], set[int]]:
    """The texts that a decoder continues, with at most so many tokens, and which were cut."""
    middle = tokenizer(separator, add_special_tokens=False)["input_ids"]
    limit = tokens_read(tokenizer, most)
    room = limit - len(middle)
    _require_room(room, limit)
    whole = opened(tokenizer, sources)
    cut = {at for at, ids in enumerate(whole) if len(ids) > room}
    return [[*ids[:room], *middle] for ids in whole], cut


def _cut_targets(
    tokenizer: PreTrainedTokenizerBase, targets: Sequence[str], info: TextInfo
) -> tuple[list[list[int]], set[int]]:
    """The tokens to be written, with one that ends each, and which texts were cut."""
    if info.target_language is not None:
        tokenizer.tgt_lang = info.target_language
    limit = tokens_read(tokenizer, info.target_max_length)
    written: list[list[int]]
    uncut: Any = {"truncation": False, "verbose": False}
    if info.separator is None:
        written = tokenizer(text_target=list(targets), **uncut)["input_ids"]
    else:
        written = tokenizer(list(targets), **uncut, add_special_tokens=False)["input_ids"]
    end, found, cut = end_token(tokenizer), [], set()
    for at, ids in enumerate(written):
        # mBART has the language after the end.
        last = next((i for i in range(max(0, len(ids) - 2), len(ids)) if ids[i] == end), None)
        body, tail = (ids, [end]) if last is None else (ids[:last], ids[last:])
        room = limit - len(tail)
        _require_room(room, limit)
        if len(body) > room:
            cut.add(at)
        found.append([*body[:room], *tail])
    return found, cut


def _require_room(room: int, limit: int) -> None:
    if room < 1:
        raise TextLengthError(
            f"A row may have {limit} tokens, which leaves no room for text.", limit, given=limit
        )


TEXT2TEXT = Text2Text()
