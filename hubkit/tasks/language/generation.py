"""Texts that a model writes, token by token."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedModel

from hubkit.tasks.task import Encoded, Options, Outputs, Prediction
from hubkit.tasks.text import learned_places
from registry.errors import DataError

_OF_SAMPLING = ("temperature", "top_k", "top_p")


@dataclass(frozen=True)
class Generating(Options):
    """How a text is written. None: as the base model's own configuration says.

    Attributes:
        max_new_tokens: How many tokens are written, at most; None: as many as training cut targets
            to, or 128. A decoder stops where it can tell no more places.
        min_new_tokens: How many tokens are written, at least.
        num_beams: How many texts are followed at a time; the most probable one is the answer.
        do_sample: Whether each token is drawn by chance, and not the most probable one.
        temperature: Over 1 for more chance, under 1 for less; with ``do_sample``.
        top_k: Draw among as many tokens; with ``do_sample``.
        top_p: Draw among the tokens that have this probability together; with ``do_sample``.
        length_penalty: Over 0 prefers long texts among beams, under 0 short ones.
        repetition_penalty: Over 1 avoids tokens that are there already.
        no_repeat_ngram_size: So many tokens do not follow each other twice.
        seed: The seed of the draws; every batch begins with it.

    Raises:
        DataError: One of them is out of range.
    """

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    num_beams: int | None = None
    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    length_penalty: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_new_tokens", "num_beams", "top_k"):
            self._require(name, least=1)
        for name in ("min_new_tokens", "no_repeat_ngram_size", "seed"):
            self._require(name, least=0)
        for name in ("temperature", "top_p", "repetition_penalty"):
            self._require(name, over=0)
        self._require("length_penalty")
        if self.seed is not None and self.seed >= 2**64:
            raise DataError(f"seed must be below 2 to the 64, not {self.seed!r}.", self.seed)
        if self.top_p is not None and self.top_p > 1:
            raise DataError(f"top_p must be at most 1, not {self.top_p!r}.", self.top_p)
        given = [name for name in _OF_SAMPLING if getattr(self, name) is not None]
        if given and not self.do_sample:
            raise DataError(
                f"{given[0]} says how tokens are drawn by chance, but do_sample is False.",
                given[0],
            )
        most = self.max_new_tokens
        if most is not None and (self.min_new_tokens or 0) > most:
            raise DataError(
                f"min_new_tokens is {self.min_new_tokens}, more than max_new_tokens, {most}.",
                self.min_new_tokens,
            )

    def _require(self, name: str, *, least: float = -math.inf, over: float = -math.inf) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not math.isfinite(value):
            raise DataError(f"{name} must be finite, not {value}.", value)
        if value < least or value <= over:
            bound = f"over {over:g}" if least == -math.inf else f"at least {least:g}"
            raise DataError(f"{name} must be {bound}, not {value}.", value)

    def config(self, model: PreTrainedModel) -> GenerationConfig:
        """What ``generate`` of ``model`` takes: the model's own configuration, with these."""
        config: GenerationConfig = deepcopy(model.generation_config)
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and one.name != "seed":
                setattr(config, one.name, value)
        if not self.do_sample:
            for name in (*_OF_SAMPLING, "min_p", "typical_p"):
                setattr(config, name, None)  # a model may have been saved with what it is drawn by
        least, most = self.min_new_tokens or 0, config.max_new_tokens
        if most is not None and least > most:
            raise DataError(
                f"min_new_tokens is {least}, more than the {most} tokens that are written at most: "
                "expected a max_new_tokens, too.",
                least,
            )
        # One text for each row, and nothing beside it.
        config.num_return_sequences, config.return_dict_in_generate = 1, False
        if not (config.num_beams or 1) > 1:
            config.length_penalty = config.early_stopping = None
        return config


@dataclass(frozen=True)
class GeneratedText(Prediction):
    """What a model wrote.

    Attributes:
        generated_text: Without what it was given, and without special tokens.
    """

    generated_text: str

    def cells(self) -> tuple[str, ...]:
        """The text on one line."""
        return (" ".join(self.generated_text.split()),)


def generate(model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options) -> Tensor:
    """The tokens that follow those of ``inputs``. *Shape:* ``(batch, tokens)``."""
    assert isinstance(options, Generating)
    run: Any = model
    mask = inputs.get("attention_mask")
    config, read = options.config(model), inputs["input_ids"].shape[1]
    decodes = not model.config.is_encoder_decoder
    places = getattr(model.config, "max_position_embeddings", None)
    # Behind what it reads, or behind the token that begins what it writes.
    room = None if places is None else places - (learned_places(model) + read if decodes else 1)
    short = room is not None and room < (config.max_new_tokens or 0)
    reads_padding = (
        (short and decodes) or _ignores_places(model) or _counts_padding(config, decodes)
    )
    if reads_padding and mask is not None and not bool(mask.all()):
        rows = [ids[there.bool()] for ids, there in zip(inputs["input_ids"], mask, strict=True)]
        ones = [
            {"input_ids": ids.unsqueeze(0), "attention_mask": torch.ones_like(ids).unsqueeze(0)}
            for ids in rows
        ]
        alone = [generate(model, one, options)[0] for one in ones]
        return pad_sequence(alone, batch_first=True, padding_value=-100)
    if room is not None and short:
        config.max_new_tokens = max(1, room)
        config.min_new_tokens = min(config.min_new_tokens or 0, config.max_new_tokens)
    with _seeded(options.seed):
        tokens: Tensor = run.generate(**inputs, generation_config=config)
    return tokens[:, read:] if decodes else tokens


def _counts_padding(config: GenerationConfig, decodes: bool) -> bool:
    """Whether padding changes what is written.

    A penalty for repeated tokens would also hit the padding token, which may be the one that ends a
    text; and a least length counts padding that a decoder reads.
    """
    if decodes:
        counts = bool(config.no_repeat_ngram_size or config.min_length)
        return counts or (config.repetition_penalty or 1.0) != 1.0
    penalty = config.encoder_repetition_penalty or 1.0
    return penalty != 1.0 or bool(config.encoder_no_repeat_ngram_size)


def _ignores_places(model: PreTrainedModel) -> bool:
    """Whether padding before a text changes how the text is continued.

    PEFT puts the tokens of a learned prompt before the padding, and does not count positions from
    the start of the text.
    """
    method = getattr(model, "active_peft_config", None)
    return bool(getattr(method, "is_prompt_learning", False)) and not (
        model.config.is_encoder_decoder
    )


def texts(outputs: Outputs, encoded: Encoded) -> list[str]:
    """The texts of generated tokens, in the order of the rows."""
    return [
        encoded.processor.decode([int(one) for one in row if one >= 0], skip_special_tokens=True)
        for row in outputs[0]
    ]


def written(outputs: Outputs, encoded: Encoded) -> Sequence[Prediction]:
    """A prediction for each row."""
    return [GeneratedText(text) for text in texts(outputs, encoded)]


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from ``seed`` inside the block; after it, the generators are as before."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
