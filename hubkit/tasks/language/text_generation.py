"""The beginning of a text to what follows. Also known as causal language modelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.bases.decoders import is_decoder
from hubkit.bases.load import load_config
from hubkit.tasks.columns import Column, text
from hubkit.tasks.language.generation import Generating, generate, written
from hubkit.tasks.language.language import (
    NEW_TOKENS,
    GeneratingTask,
    end_token,
    opened,
)
from hubkit.tasks.language.losses import PERPLEXITY_UP, perplexity, shifted_losses
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import tokens_read
from registry.errors import TextLengthError, UnsupportedModelError
from registry.manifest import TextInfo
from registry.task_types import TASK_NAMES


class TextGeneration(GeneratingTask):
    """A decoder with the head that it came with, trained to say the next token.

    Each row is a text of its own, with the token that ends it. Texts are not joined. A text longer
    than the limit continues in another window, which begins with the last token of the one before:
    every token but the first of a text is learned once. A row that is read from data is learned;
    one that is given to `predict` is continued.
    """

    names = TASK_NAMES["text-generation"]
    columns = (Column("text", text, given=text),)
    example = "text\nOnce upon a time there was a registry.\n"
    metrics_up = PERPLEXITY_UP
    header = ("generated_text",)
    options = Generating

    def load_class(self, base: str) -> Any:
        """That of decoders."""
        found = super().load_class(base)
        if not is_decoder(config := load_config(base)):
            raise UnsupportedModelError(
                f"The base model {base!r} is a {config.model_type}, which is not a decoder; "
                f"{self.name} takes models such as gpt2 or llama.",
                base,
            )
        return found

    def given(self, items: Iterable[Any]) -> Rows:
        """The texts to be continued, as the column ``prompt``."""
        rows = super().given(items)
        return Rows(rows.name, {"prompt": rows["text"]})

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """Windows that share a token."""
        found = super().text_info(processor, model, asked, rows)
        return found.model_copy(update={"stride": 1})

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """Prompts as they are, cut at their beginning; texts as windows, with ``labels``."""
        limit = tokens_read(processor, text.max_length)
        if limit < 2:
            raise TextLengthError(
                f"A row may have {limit} token, but what is learned is the next one: expected at "
                "least 2.",
                limit,
                given=limit,
                expected=2,
            )
        if "prompt" in rows:
            # The base model sets this limit, not the windows; what is written needs room, too.
            whole, most = opened(processor, rows["prompt"]), processor.model_max_length
            room = most - min(NEW_TOKENS, most // 2)
            if text.stride is None:  # the limit is not that of windows, but was asked for
                room = min(room, limit)
            read = [ids[-room:] for ids in whole]
            cut = sum(len(ids) > room for ids in whole)
            return Encoded({"input_ids": read}, range(len(rows)), cut, room, processor=processor)
        windows: list[list[int]] = []
        row_of: list[int] = []
        for row, ids in enumerate(opened(processor, rows["text"])):
            ids = [*ids, end_token(processor)]
            pieces = [ids[at : at + limit] for at in range(0, len(ids) - 1, limit - 1)]
            windows += pieces
            row_of += [row] * len(pieces)
        return Encoded(
            {"input_ids": windows, "labels": [list(ids) for ids in windows]},
            row_of,
            processor=processor,
        )

    def amount(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The tokens that are foretold: all but the first of each window."""
        return (inputs["labels"][:, 1:] != -100).sum().float()

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss of a window's tokens and their number; or the tokens that are written."""
        read = dict(inputs)
        labels = read.pop("labels", None)
        if labels is None:
            return None, (generate(model, read, options),)
        return None, shifted_losses(model(**read).logits, labels)

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """What is written after each prompt."""
        return written(outputs, encoded)

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """The perplexity: the exponential of the mean loss of a token, over all tokens."""
        return perplexity(outputs)


TEXT_GENERATION = TextGeneration()
