"""What task types share that point into texts: a long text is read in windows, and nothing is lost.

A window starts with the last tokens of the one before. What the end of one cuts is whole in the
next. How many tokens they share is recorded with the adapter, as its stride.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.rows import Rows
from hubkit.tasks.text import TextTask, require_tokens, tokens_read
from registry.errors import TextLengthError, UnsupportedModelError
from registry.manifest import TextInfo

# Scripts without spaces between words: there, each token is a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_BESIDE_INPUTS = ("offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping")


@dataclass(frozen=True)
class Windows:
    """Texts as the model reads them.

    Attributes:
        features: What the model takes of each window, by argument.
        row_of: The row of each window. Those of a row follow each other, from its start to its end.
        shared: With how many tokens of the text a window repeats those of the one before.
        encodings: Of each window, as the tokenizer has it: where its tokens are in the text.
    """

    features: dict[str, list[Any]]
    row_of: list[int]
    shared: list[int]
    encodings: list[Encoding]


def of_tokens(outputs: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """The outputs of the tokens that are read, without those that PEFT puts before them.

    Args:
        outputs: *Shape* ``(batch, tokens, ...)``.
        inputs: What the model read.
    """
    return outputs[:, outputs.shape[1] - inputs["input_ids"].shape[1] :]


class WindowTask(TextTask):
    """A task type that reads long texts in windows."""

    # The outputs of a token are found by its place, which padding on the left would move.
    sides = ("right",)

    @staticmethod
    @abstractmethod
    def stride(limit: int) -> int:
        """How many of at most ``limit`` tokens two windows share by default."""

    def load_processor(self, base: str, model: PreTrainedModel) -> PreTrainedTokenizerBase:
        """The tokenizer of the base model, which has to know where its tokens are in a text."""
        tokenizer = super().load_processor(base, model)
        if not tokenizer.is_fast:
            raise UnsupportedModelError(
                f"The tokenizer of the base model {base!r} ({type(tokenizer).__name__}) does not "
                f"tell where its tokens are in a text, which {self.name} needs. Use a base model "
                "with a tokenizer.json.",
                base,
            )
        return tokenizer

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """The length of a window, and what two windows share."""
        found = super().text_info(processor, model, asked, rows)
        if found.max_length is None:
            return found
        return found.model_copy(update={"stride": self.stride(found.max_length)})

    def windows(
        self,
        tokenizer: PreTrainedTokenizerBase,
        info: TextInfo,
        texts: Sequence[str],
        seconds: Sequence[str] | None = None,
    ) -> Windows:
        """The windows of texts, or of second texts, each with the whole of its first.

        Raises:
            TextLengthError: The limit leaves no room for text.
        """
        limit = tokens_read(tokenizer, info.max_length)
        stride = self.stride(limit) if info.stride is None else info.stride
        room = limit - tokenizer.num_special_tokens_to_add(pair=seconds is not None)
        rooms = [room] * len(texts)
        if seconds is not None and texts:
            first = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
            rooms = [room - len(ids) for ids in first]
        short = next((at for at, left in enumerate(rooms) if left < 1), None)
        if short is not None:
            raise TextLengthError(
                f"A window has {limit} tokens, and {limit - rooms[short]} of them are taken before "
                "the text of a row begins: expected room for one more."
                + ("" if seconds is None else f" The row is about {texts[short][:80]!r}."),
                limit,
                given=limit,
                expected=limit - rooms[short] + 1,
            )
        found = Windows({}, [], [], [])
        # The longest windows end at the right, whatever the tokenizer does elsewhere.
        tokenizer.truncation_side = "right"
        start = 0
        while start < len(texts):
            # Rows of which two windows can share as much are encoded at once: mostly all.
            shared = min(stride, rooms[start] - 1)
            end = start
            while end < len(texts) and min(stride, rooms[end] - 1) == shared:
                end += 1
            given = [list(texts[start:end])] + (
                [] if seconds is None else [list(seconds[start:end])]
            )
            _add(found, start, tokenizer, given, limit, shared)
            start = end
        return found


def spelled_together(text: str, place: int) -> bool:
    """Whether the script lets the characters before and behind a place of a text be one word."""
    both = text[place - 1 : place + 1]
    return not any(map(str.isspace, both)) and not _UNSPACED.search(both)


def _add(
    found: Windows,
    start: int,
    tokenizer: PreTrainedTokenizerBase,
    given: list[list[str]],
    limit: int,
    stride: int,
) -> None:
    """Add the windows of some rows, the first of which is ``start``, to those that were found."""
    encoded = tokenizer(
        *given,
        truncation="only_first" if len(given) == 1 else "only_second",
        max_length=limit,
        stride=stride,
        return_overflowing_tokens=True,
    )
    rows = encoded["overflow_to_sample_mapping"]
    require_tokens([given[-1][row] for row in rows], encoded["input_ids"])
    found.row_of.extend(start + row for row in rows)
    found.shared.extend(
        stride if row == before else 0 for before, row in zip([None, *rows], rows, strict=False)
    )
    found.encodings.extend(encoded.encodings or ())
    for name, values in encoded.items():
        if name not in _BESIDE_INPUTS:
            found.features.setdefault(name, []).extend(values)
