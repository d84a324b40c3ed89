"""Run a model on the features of rows, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, TaskType, in_order, joined
from registry.errors import DataError
from registry.manifest import TextInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """How many rows were longer than what is read of them.

    Attributes:
        rows: All rows.
        cut: Those that lost tokens.
        reads: What is read of a row, such as ``the 128 tokens that reviews@1 reads``.
    """

    rows: int = 0
    cut: int = 0
    reads: str = ""

    def __add__(self, other: Cut) -> Cut:
        return Cut(self.rows + other.rows, self.cut + other.cut, other.reads or self.reads)

    def note(self) -> None:
        """Warn if there are any."""
        if self.cut:
            logger.warning(
                "%d of %d rows are longer than %s; the rest of them is cut off.",
                self.cut,
                self.rows,
                self.reads,
            )


def encode(
    task: TaskType[Any],
    processor: Any,
    model: PreTrainedModel,
    rows: Rows,
    plan: HeadPlan,
    text: TextInfo,
) -> Encoded:
    """The rows as the model reads them, of which it has to know each token.

    Raises:
        DataError: A row has a token that was added to the tokenizer, and not to the model; or as
            :meth:`TaskType.encode`.
    """
    encoded = task.encode(processor, rows, plan, text)
    if not isinstance(processor, PreTrainedTokenizerBase):
        return encoded
    known = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if known is not None and len(processor) > known:  # else there is nothing to go through
        # What an encoder-decoder is to write are lists of tokens, too.
        written = (one for one in encoded.features.get("labels", ()) if isinstance(one, list))
        for number in _tokens(chain(encoded.features.get("input_ids", ()), written)):
            if number >= known:
                token = processor.convert_ids_to_tokens(number)
                raise DataError(
                    f"{rows.name}: the token {token!r} has the number {number}, but the base model "
                    f"has embeddings for {known} tokens, from 0 to {known - 1}. It was added to "
                    "the tokenizer alone; name a base model whose embeddings were resized.",
                    token,
                )
    return encoded


def _tokens(ids: Iterable[Any]) -> Iterator[int]:
    """The numbers in lists of any depth: a row may have several texts."""
    for one in ids:
        if isinstance(one, list):
            yield from _tokens(one)
        else:
            yield int(one)


def batches(
    task: TaskType[Any],
    processor: Any,
    model: PreTrainedModel,
    encoded: Encoded,
    order: Sequence[int],
    batch_size: int,
) -> Iterator[dict[str, Tensor]]:
    """The features in that order, where the model is.

    Raises:
        DataError: ``batch_size`` is less than one.
    """
    if batch_size < 1:
        raise DataError(f"batch_size must be at least 1, not {batch_size}.", batch_size)
    collate = task.collator(processor, model)
    # Shown on a terminal only, and only when there is something to wait for.
    for start in tqdm(
        range(0, len(order), batch_size), unit="batch", disable=None, delay=1, leave=False
    ):
        batch = collate([encoded.feature(i) for i in order[start : start + batch_size]])
        yield {name: values.to(model.device) for name, values in batch.items()}


def as_read(
    task: TaskType[Any], processor: Any, found: Iterable[Mapping[str, Tensor]]
) -> Iterator[dict[str, Tensor]]:
    """What the model reads of each batch, without what it is to learn."""
    names = processor.model_input_names
    for one in found:
        yield task.as_read({name: values for name, values in one.items() if name in names})


def outputs_of(
    task: TaskType[Any],
    processor: Any,
    model: PreTrainedModel,
    encoded: Encoded,
    options: Options,
    batch_size: int,
) -> Outputs:
    """What the model gives for each feature, in their order.

    Raises:
        DataError: ``batch_size`` is less than one.
    """
    order, found = encoded.by_length(), []
    for inputs in batches(task, processor, model, encoded, order, batch_size):
        with torch.inference_mode():
            found.append(task.run(model, inputs, options)[1])
    return in_order(joined(found, task.filler), order)
