"""What task types for text share: limits, cutting, and batches that change no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    BatchEncoding,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hubkit.bases.load import load_tokenizer
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan, TaskType
from registry.errors import DataError, TextLengthError, UnsupportedModelError
from registry.manifest import Manifest, TextInfo

_ROW = {"single texts": "a text", "pairs": "a text and a text_pair"}
LONG, SHORT = "one two three four five six seven eight nine ten", "one"
"""Texts to try a model with."""


class TextTask(TaskType[PreTrainedTokenizerBase]):
    """A task type whose rows are texts, or pairs of texts.

    Attributes:
        sides: Where rows may be padded. What is said of each token needs the right: a token has
            the same place in batches of any width.
    """

    sides: ClassVar[tuple[str, ...]] = ("right", "left")

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
        """Set how texts are padded."""
        set_padding(processor, model, self, plan, info)

    def text_info(
        self, processor: PreTrainedTokenizerBase, asked: TextInfo, rows: Rows
    ) -> TextInfo:
        """As the tokenizer cuts and joins them."""
        require_reading_only(self, asked)
        return text_info(processor, asked.max_length, pair="text_pair" in rows)

    def require_form(self, rows: Rows, info: TextInfo) -> None:
        """Pairs where training had pairs, and single texts where it had those."""
        require_pairs(rows, info)

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches that are filled up to their longest row."""
        return DataCollatorWithPadding(processor)

    def probe(self) -> Rows:
        """A long row and a short one, to try a model with."""
        return self.given([{c.name: text for c in self.inputs} for text in (LONG, SHORT)])


def text_info(
    tokenizer: PreTrainedTokenizerBase, max_length: int | None, *, pair: bool = False
) -> TextInfo:
    """How a tokenizer cuts and joins texts, for the manifest.

    Args:
        tokenizer: The base model's, with its limit and its sides set.
        max_length: Tokens of a row at most; None: as many as the base model takes.
        pair: Whether a row is two texts.
    """
    limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
    return TextInfo(
        max_length=limit if limit < 2**31 else None,  # a model may take texts of any length
        truncation_side=_side(tokenizer.truncation_side),
        padding_side=_side(tokenizer.padding_side),
        pair="longest_first" if pair else None,
    )


def require_reading_only(task: TextTask, asked: TextInfo) -> None:
    """Make sure that nothing was chosen for texts that a model writes.

    Raises:
        DataError: Something was.
    """
    for name in ("target_max_length", "source_language", "target_language"):
        if (value := getattr(asked, name)) is not None:
            raise DataError(
                f"{name} is {value!r}, but {task.name} does not turn one text into another.",
                value,
            )


def text_of(manifest: Manifest) -> TextInfo:
    """How an adapter's texts were cut in training, as far as that was recorded."""
    if manifest.text is not None:
        return manifest.text
    # Before schema 2, only the settings of `hubkit train` told of it.
    known = manifest.training.arguments.get("max_length") if manifest.training else None
    return TextInfo(max_length=known if isinstance(known, int) else None)


def require_pairs(rows: Rows, info: TextInfo) -> None:
    """Make sure that rows are pairs where training had pairs, and single texts where it had those.

    Args:
        rows: What is to be encoded.
        info: As recorded in training.

    Raises:
        DataError: The rows are of the other kind.
    """
    if ("text_pair" in rows) == (info.pair is not None):
        return
    expected, found = ("single texts", "pairs") if info.pair is None else ("pairs", "single texts")
    raise DataError(
        f"The adapter was trained on {expected} (a row is {_ROW[expected]}); {rows.name} holds "
        f"{found}.",
        rows.name,
        expected=expected,
        found=found,
    )


def _side(side: str) -> Any:
    return side


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
    limit = min(info.max_length or tokenizer.model_max_length, tokenizer.model_max_length)
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
    encoded: BatchEncoding = tokenizer(*given, truncation=how, max_length=limit, **settings)
    full = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) >= limit]
    if encoded.encodings is not None:
        return encoded, [i for i in full if encoded.encodings[i].overflowing]

    def length(i: int) -> int:
        return len(tokenizer(*(of[i] for of in given), truncation=False)["input_ids"])

    return encoded, [i for i in full if length(i) > limit]


def set_padding(
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    task: TextTask,
    plan: HeadPlan,
    info: TextInfo,
) -> None:
    """Set how texts are padded, so that a text has the same outputs alone and beside others.

    A tokenizer without a token for padding gets one of its special tokens for it, and the model is
    told which. Then a long and a short text are run together and one by one, padded on the side
    that the tokenizer names, or else on the other, as far as the task type allows.

    Args:
        tokenizer: The base model's; it is changed.
        model: With its head; its configuration is changed.
        task: Says how the model is run.
        plan: Of the head.
        info: As recorded in training; where it does not say on which side to pad, that is found
            out.

    Raises:
        UnsupportedModelError: The outputs differ on each side, or the model cannot be run.
    """
    _set_padding_token(tokenizer, model)
    if info.padding_side in task.sides:
        tokenizer.padding_side = info.padding_side
        return
    was_training = model.training
    model.train(False)
    problem = ""
    try:
        for side in sorted(task.sides, key=lambda side: side != tokenizer.padding_side):
            tokenizer.padding_side = side
            problem = _difference(tokenizer, model, task, plan, info)
            if not problem:
                return
    finally:
        model.train(was_training)
    raise UnsupportedModelError(
        f"The base model {model.config.name_or_path!r} ({type(model).__name__}) cannot be used for "
        f"{task.name} with its tokenizer: {problem}.",
        model.config.name_or_path,
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


def _difference(
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    task: TextTask,
    plan: HeadPlan,
    info: TextInfo,
) -> str:
    """What is wrong with a batch of two texts; empty if nothing is."""
    uncut = info.model_copy(update={"max_length": None, "target_max_length": None})
    encoded = task.encode(tokenizer, task.probe(), plan, uncut)
    collate = task.collator(tokenizer, model)
    features = [encoded.feature(index) for index in range(len(encoded))]

    def run(chosen: list[dict[str, Any]]) -> Sequence[Tensor]:
        inputs: Mapping[str, Tensor] = collate(chosen)
        with torch.no_grad():
            return task.run(
                model, {k: v.to(model.device) for k, v in inputs.items()}, task.options()
            )[1]

    try:
        together, alone = run(features), [run([feature]) for feature in features]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return f"a batch of two texts ends in: {reason.rstrip('.')}"
    exact = model.dtype in (torch.float32, torch.float64)
    for index, parts in enumerate(alone):
        for whole, part in zip(together, parts, strict=True):
            width = part.shape[1] if part.ndim > 2 else None
            found = whole[index, :width].float()
            if tokenizer.padding_side == "left" and width is not None:
                found = whole[index, whole.shape[1] - width :].float()
            scale = float(part.float().abs().max()) or 1.0
            if float((found - part[0].float()).abs().max()) > scale * (1e-3 if exact else 0.1):
                return "a text has other outputs beside a longer text than alone"
    return ""
