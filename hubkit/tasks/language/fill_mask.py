"""A text with gaps to the words that fill them. Also known as masked language modelling."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hubkit.bases.load import load_config
from hubkit.tasks.columns import Column, text
from hubkit.tasks.language.losses import PERPLEXITY_UP, perplexity, token_losses
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import TextTask, encode_each, tokens_read, words
from registry.errors import DataError, UnsupportedModelError
from registry.manifest import TextInfo
from registry.task_types import TASK_NAMES

logger = logging.getLogger(__name__)

SHARE = 0.15
"""How many of the tokens are to be guessed, as in BERT (Devlin et al. 2019, arXiv 1810.04805)."""


@dataclass(frozen=True)
class Filling:
    """A word for a gap.

    Attributes:
        word: As the tokenizer spells it.
        token: Its id.
        score: Its probability, from 0 to 1.
    """

    word: str
    token: int
    score: float


@dataclass(frozen=True)
class FilledGaps(Prediction):
    """What fills the gaps of a text.

    Attributes:
        gaps: For each gap, from the first to the last, its most probable words; the best comes
            first. A gap that is cut off has none, and a text without a gap has no gaps: both are
            noted.
    """

    gaps: tuple[tuple[Filling, ...], ...]

    def cells(self) -> tuple[str, ...]:
        """The words of each gap with their scores."""
        return (
            "; ".join(
                ", ".join(f"{one.word} {one.score:.4f}" for one in words) or "-"
                for words in self.gaps
            ),
        )


@dataclass(frozen=True)
class Filled(Options):
    """How many words are given.

    Attributes:
        top_k: The number for each gap.

    Raises:
        DataError: It is not over 0.
    """

    top_k: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise DataError(f"top_k must be at least 1, not {self.top_k}.", self.top_k)


class FillMask(TextTask):
    """An encoder with the head that it came with, or a new one, trained to guess hidden tokens.

    In training, chance hides 15 % of a text's tokens, and others in each epoch. To measure, a text
    always has the same gaps. A row that is read from data is hidden so; one that is given to
    `predict` has gaps of its own: the mask token of the base model, such as ``[MASK]``.
    """

    draws_rows = True

    names = TASK_NAMES["fill-mask"]
    columns = (Column("text", text, given=text),)
    example = "text\nParis is the capital of France.\n"
    metrics_up = PERPLEXITY_UP
    header = ("fillings",)
    options = Filled

    def load_class(self, base: str) -> Any:
        """That of encoders."""
        found = super().load_class(base)
        if (config := load_config(base)).is_encoder_decoder:
            raise UnsupportedModelError(
                f"The base model {base!r} is a {config.model_type}, which has a decoder; "
                f"{self.name} takes encoders such as bert or xlm-roberta.",
                base,
            )
        return found

    def load_processor(self, base: str, model: PreTrainedModel) -> PreTrainedTokenizerBase:
        """The tokenizer of the base model, which has a token that stands for a gap."""
        tokenizer = super().load_processor(base, model)
        if tokenizer.mask_token_id is None:
            raise UnsupportedModelError(
                f"The tokenizer of the base model {base!r} has no token that stands for a gap. Add "
                "a mask_token to it.",
                base,
            )
        return tokenizer

    def given(self, items: Iterable[Any]) -> Rows:
        """Texts with gaps, as the column ``gapped``."""
        rows = super().given(items)
        return Rows(rows.name, {"gapped": rows["text"]})

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Texts of so many words, to be learned."""
        return Rows("probe", {"text": words(lengths)})

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row. What is to be learned is hidden when batches are made."""
        gapped = rows.get("gapped")
        texts = rows["text"] if gapped is None else gapped
        encoded, cut = encode_each(processor, texts, None, text)
        features, limit = dict(encoded), tokens_read(processor, text.max_length)
        beside: dict[str, list[Any]] = {}
        if gapped is not None:
            features["gapped"] = [True] * len(rows)
            read = [ids.count(processor.mask_token_id) for ids in encoded["input_ids"]]
            whole = list(read)
            for row in cut:
                uncut = processor(gapped[row], truncation=False, verbose=False)["input_ids"]
                whole[row] = uncut.count(processor.mask_token_id)
            _note_gaps(processor, gapped, read, whole, limit)
            lost = [all_of - some for all_of, some in zip(whole, read, strict=True)]
            at_start = processor.truncation_side == "left"
            beside["before"], beside["behind"] = (
                [number if side == at_start else 0 for number in lost] for side in (True, False)
            )
        return Encoded(features, range(len(rows)), len(cut), limit, beside, processor)

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches with the same gaps each time."""
        return _Gaps(processor, model, chance=False)

    def training_collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches with gaps by chance."""
        return _Gaps(processor, model, chance=True)

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """What the hidden tokens of a row cost and how many they are; or what fills its gaps.

        The latter are scores and tokens, each of *shape* ``(rows, most gaps, top_k)``; -100 where a
        row has fewer gaps.
        """
        read = dict(inputs)
        labels, gaps = read.pop("labels", None), read.pop("gaps", None)
        logits = model(**read).logits
        if labels is not None:
            return None, token_losses(logits, labels)
        assert isinstance(options, Filled)
        assert gaps is not None
        best = torch.softmax(logits[gaps].float(), -1).topk(min(options.top_k, logits.shape[-1]))
        counts = gaps.sum(1).tolist()
        return None, tuple(
            pad_sequence(list(torch.split(one, counts)), batch_first=True, padding_value=-100)
            for one in (best.values, best.indices)
        )

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The most probable words of each gap."""
        words = encoded.processor

        def fillings(scores: np.ndarray, tokens: np.ndarray) -> tuple[Filling, ...]:
            return tuple(
                Filling(words.decode([int(token)]), int(token), float(score))
                for score, token in zip(scores, tokens, strict=True)
            )

        return [
            FilledGaps(
                (
                    *[()] * before,
                    *(fillings(*g) for g in zip(scores, tokens, strict=True) if g[1][0] >= 0),
                    *[()] * behind,
                )
            )
            for scores, tokens, before, behind in zip(
                *outputs, encoded.beside["before"], encoded.beside["behind"], strict=True
            )
        ]

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """The perplexity: the exponential of the mean loss of a token, over all hidden tokens."""
        return perplexity(outputs)


def _note_gaps(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    read: Sequence[int],
    whole: Sequence[int],
    limit: int,
) -> None:
    """Warn of texts without a gap, and of those with a gap that is cut off.

    Args:
        tokenizer: The base model's.
        texts: What was given.
        read: How many gaps of each are read.
        whole: How many it has.
        limit: How many tokens are read.
    """
    without = [row for row, count in enumerate(whole) if not count]
    if without:
        logger.warning(
            "%d of %d rows have no gap, such as %r, so nothing is filled: expected %s "
            "where a word is to be found.",
            *(len(without), len(texts), texts[without[0]][:80]),
            tokenizer.mask_token,
        )
    lost = [row for row, count in enumerate(whole) if count > read[row]]
    if lost:
        logger.warning(
            "%d of %d rows have a gap that is cut off, such as %r, and is not filled: "
            "the adapter reads %d tokens.",
            *(len(lost), len(texts), texts[lost[0]][:80]),
            limit,
        )


class _Gaps:
    """Batches of texts, with gaps where something is to be learned.

    Args:
        tokenizer: The base model's.
        model: The base model.
        chance: Whether other tokens are hidden each time.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *, chance: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._known = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        self._chance = chance
        self._hide = DataCollatorForLanguageModeling(tokenizer, mlm_probability=SHARE)
        self._pad = DataCollatorWithPadding(tokenizer)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """With ``labels``, which are -100 but for what is hidden; or with ``gaps``, as booleans."""
        rows = [{k: v for k, v in one.items() if k != "gapped"} for one in features]
        batch = dict(self._pad(rows))
        if "gapped" in features[0]:
            batch["gaps"] = batch["input_ids"] == self._tokenizer.mask_token_id
            return batch
        hidden = [self._hidden(row["input_ids"]) for row in rows]
        there = batch["attention_mask"].bool()
        batch["labels"] = torch.full_like(batch["input_ids"], -100)
        batch["input_ids"][there] = torch.cat([ids for ids, _ in hidden])
        batch["labels"][there] = torch.cat([labels for _, labels in hidden])
        return batch

    def _hidden(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A row's tokens with gaps, and the tokens that were there; -100 elsewhere."""
        tokens = list(ids)
        special = self._tokenizer.get_special_tokens_mask(tokens, already_has_special_tokens=True)
        # The same for a row in each batch, of whatever size; or drawn anew each time.
        seed = zlib.crc32(repr(tokens).encode())
        self._hide.generator = None if self._chance else torch.Generator().manual_seed(seed)
        while True:
            found: tuple[Tensor, Tensor] = self._hide.torch_mask_tokens(
                torch.tensor([tokens]), torch.tensor([special])
            )
            # A loss is a mean over hidden tokens: a batch of short texts needs at least one.
            if all(special) or bool((found[1] != -100).any()):
                # Chance draws from the tokenizer, which may have more tokens than the model.
                read = found[0][0]
                read[read >= self._known] = int(self._tokenizer.mask_token_id)
                return read, found[1][0]


FILL_MASK = FillMask()
