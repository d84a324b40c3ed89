"""What task types for text share: limits, cutting, and batches that change no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import (
    BatchEncoding,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from hubkit.bases.load import load_tokenizer, positions
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, HeadPlan, TaskType
from registry.errors import DataError, TextLengthError, UnsupportedModelError, reason_of
from registry.folders.bounded import shown
from registry.manifest import Side, TextInfo

_ROW = {"single texts": "a text", "pairs": "a text and a text_pair"}
_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_NO_LIMIT = 2**31 - 1
"""The most tokens that fast tokenizers count to."""


class TextTask(TaskType[PreTrainedTokenizerBase]):
    """A task type whose rows are texts, or pairs of texts.

    Attributes:
        sides: Where rows may be padded. What is said of each token needs the right: a token has
            the same place in batches of any width.
        always_pairs: Whether each row is read as pairs of texts, whatever columns it has.
    """

    sides: ClassVar[tuple[str, ...]] = ("right", "left")
    always_pairs: ClassVar[bool] = False

    def load_processor(self, base: str, model: PreTrainedModel) -> PreTrainedTokenizerBase:
        """The tokenizer of the base model."""
        return load_tokenizer(base, model)

    def prepare(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        plan: HeadPlan,
        info: TextInfo,
    ) -> None:
        """Set how texts are padded, so that a text has the same outputs alone and beside others.

        A tokenizer without a token for padding gets one of its special tokens for it, and the
        model's configuration names that token. If ``info`` has no side for padding, a long and a
        short text are run together and one by one. They are padded on the tokenizer's side first,
        then on the other, if the task type allows it.

        Where training recorded how texts are cut, that holds, and no longer what the tokenizer says
        of its length.

        Raises:
            UnsupportedModelError: The outputs differ on each side, or the model cannot be run.
        """
        _set_padding_token(processor, model)
        if info.padding_side in self.sides:
            processor.padding_side = info.padding_side
            most = info.max_length or VERY_LARGE_INTEGER
            longest = min(most, positions(model))
            processor.model_max_length = max(processor.model_max_length, longest)
            return
        was_training = model.training
        model.train(False)
        problem = ""
        try:
            for side in sorted(self.sides, key=lambda side: side != processor.padding_side):
                processor.padding_side = side
                problem = self._difference(processor, model, plan, info)
                if not problem:
                    return
        finally:
            model.train(was_training)
        raise UnsupportedModelError(
            f"The base model {model.config.name_or_path!r} ({type(model).__name__}) cannot be used "
            f"for {self.name} with its tokenizer: {problem}.",
            model.config.name_or_path,
        )

    def _difference(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        plan: HeadPlan,
        info: TextInfo,
    ) -> str:
        """What is wrong with a batch of two texts; empty if nothing is."""
        uncut = info.model_copy(update={"max_length": None, "target_max_length": None})
        encoded = self.encode(tokenizer, self.probe(), plan, uncut)
        collate = self.collator(tokenizer, model)
        features = [encoded.feature(index) for index in range(len(encoded))]

        def run(chosen: list[dict[str, Any]]) -> Sequence[Tensor]:
            batch: Mapping[str, Tensor] = collate(chosen)
            inputs = {name: values.to(model.device) for name, values in batch.items()}
            with torch.no_grad():
                return self.run(model, inputs, self.options())[1]

        try:
            together, alone = run(features), [run([feature]) for feature in features]
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            return f"a batch of two texts ends in: {reason_of(error)[:200]}"
        for index, parts in enumerate(alone):
            for whole, part in zip(together, parts, strict=True):
                width = part.shape[1] if part.ndim > 2 else None
                found = whole[index, :width]
                if tokenizer.padding_side == "left" and width is not None:
                    found = whole[index, whole.shape[1] - width :]
                if not close_enough(found, part[0], model.dtype):
                    return "a text has other outputs beside a longer text than alone"
        return ""

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """As the tokenizer cuts and joins them; no more tokens than the base model takes."""
        self.check_asked(asked)
        limit = tokens_read(processor, asked.max_length)
        return TextInfo(
            max_length=limit if limit < _NO_LIMIT else None,  # a model may take texts of any length
            truncation_side=cast(Side, processor.truncation_side),
            padding_side=cast(Side, processor.padding_side),
            pair="longest_first" if self.always_pairs or "text_pair" in rows else None,
        )

    def check_asked(self, asked: TextInfo) -> None:
        """Make sure that nothing was chosen for texts that a model writes.

        Raises:
            DataError: Something was.
        """
        for name in ("target_max_length", "source_language", "target_language"):
            if (value := getattr(asked, name)) is not None:
                raise DataError(
                    f"{name} is {value!r}, but {self.name} does not turn one text into another.",
                    value,
                )

    def require_form(self, rows: Rows, info: TextInfo) -> None:
        """Pairs where training had pairs, and single texts where it had those."""
        # An older manifest does not say what a row was.
        if info.padding_side is None or "text_pair" not in [one.name for one in self.inputs]:
            return
        if ("text_pair" in rows) == (info.pair is not None):
            return
        forms = ("single texts", "pairs")
        expected, found = forms if info.pair is None else forms[::-1]
        raise DataError(
            f"The adapter was trained on {expected} (a row is {_ROW[expected]}); {rows.name} holds "
            f"{found}.",
            rows.name,
            expected=expected,
            found=found,
        )

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches that are filled up to their longest row."""
        return DataCollatorWithPadding(processor)

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Texts of so many words."""
        texts = words(lengths)
        return self.given([{c.name: text for c in self.inputs} for text in texts])


def words(lengths: Sequence[int]) -> list[str]:
    """Texts of so many words each, to try a model with."""
    return [" ".join(islice(cycle(_NUMBERS), length)) for length in lengths]


def tokens_read(tokenizer: PreTrainedTokenizerBase, asked: int | None) -> int:
    """How many tokens of a row are read, at most: as many as asked for, if the model takes them."""
    most = tokenizer.model_max_length
    return min(asked or most, most, _NO_LIMIT)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    info: TextInfo,
    **settings: Any,
) -> tuple[BatchEncoding, int]:
    """Token ids of texts, or of pairs of texts, and how many rows lost tokens.

    Raises:
        TextLengthError: The limit leaves no room for text.
    """
    encoded, cut = encode_each(tokenizer, texts, pairs, info, **settings)
    return encoded, len(cut)


def encode_each(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    info: TextInfo,
    **settings: Any,
) -> tuple[BatchEncoding, list[int]]:
    """As :func:`encode_texts`, with the positions of the texts that lost tokens.

    Raises:
        TextLengthError: The limit leaves no room for text.
    """
    limit = tokens_read(tokenizer, info.max_length)
    special = tokenizer.num_special_tokens_to_add(pair=pairs is not None)
    least = special + (1 if pairs is None else 2)
    if limit < least:
        raise TextLengthError(
            f"A row may have {limit} tokens, but {special} of them are special ones of the base "
            f"model: expected at least {least}.",
            limit,
            given=limit,
            expected=least,
        )
    if not texts:
        return BatchEncoding({"input_ids": [], "attention_mask": []}), []
    if info.truncation_side is not None:
        tokenizer.truncation_side = info.truncation_side
    how = info.pair or "longest_first"
    given = (list(texts),) if pairs is None else (list(texts), list(pairs))
    if pairs is not None and how in ("only_first", "only_second"):
        _require_room(tokenizer, pairs if how == "only_first" else texts, how, limit - special)
    encoded: BatchEncoding = tokenizer(*given, truncation=how, max_length=limit, **settings)
    require_tokens(texts, encoded["input_ids"])
    full = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) >= limit]
    if encoded.encodings is not None:
        return encoded, [i for i in full if encoded.encodings[i].overflowing]

    def length(i: int) -> int:
        return len(tokenizer(*(of[i] for of in given), truncation=False)["input_ids"])

    return encoded, [i for i in full if length(i) > limit]


def require_tokens(texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Make sure that there is something to read: some tokenizers add no special token to a text.

    Raises:
        DataError: A text has no token.
    """
    for text, tokens in zip(texts, ids, strict=True):
        if not tokens:
            raise DataError(f"The text {text[:80]!r} has no token; expected at least one.", text)


def _require_room(
    tokenizer: PreTrainedTokenizerBase, whole: Sequence[str], how: str, limit: int
) -> None:
    """Make sure that the texts of pairs that are not cut leave room for the others."""
    encoded = tokenizer(list(whole), add_special_tokens=False, truncation=False)
    for text, ids in zip(whole, encoded["input_ids"], strict=True):
        if len(ids) >= limit:
            cut, kept = ("first", "second") if how == "only_first" else ("second", "first")
            raise TextLengthError(
                f"Of a pair, only the {cut} text is cut ({how}). The {kept} one {shown(text)} has "
                f"{len(ids)} tokens, which leaves nothing of the {cut}: a row has room for "
                f"{limit}.",
                text,
                given=len(ids),
                expected=limit,
            )


def _set_padding_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    if tokenizer.pad_token_id is None or not 0 <= int(tokenizer.pad_token_id) < rows:
        special = (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token)
        for token in special:
            number = None if token is None else tokenizer.convert_tokens_to_ids(str(token))
            if isinstance(number, int) and 0 <= number < rows:
                tokenizer.pad_token = token
                break
        else:
            raise UnsupportedModelError(
                f"The tokenizer of the base model {model.config.name_or_path!r} has no token to "
                "fill up the shorter texts of a batch with, and no other special token that could "
                "stand for it. Add a pad_token to it.",
                model.config.name_or_path,
            )
    # Some heads read the last token that is not padding, and ask the configuration which that is.
    model.config.pad_token_id = tokenizer.pad_token_id
    if (inner := model.config.get_text_config()) is not model.config:
        inner.pad_token_id = tokenizer.pad_token_id


def close_enough(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether outputs of a model differ by rounding alone.

    Args:
        found: Outputs, of any shape.
        expected: Outputs of the same shape.
        dtype: What the model computes in: half precision rounds more.
    """
    tolerance = 1e-3 if dtype in (torch.float32, torch.float64) else 0.1
    scale = float(expected.float().abs().max()) or 1.0
    return not float((found.float() - expected.float()).abs().max()) > scale * tolerance


def learned_places(model: PreTrainedModel) -> int:
    """How many places the prompt or prefix takes that PEFT learned; 0 where there is none."""
    method = getattr(model, "active_peft_config", None)
    return int(getattr(method, "num_virtual_tokens", None) or 0)
