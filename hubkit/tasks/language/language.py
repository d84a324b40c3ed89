"""What the task types of language models share: which base models, and how rows become batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, HeadPlan
from hubkit.tasks.text import TextTask, close_enough, require_tokens, words
from registry.errors import UnsupportedModelError
from registry.manifest import TextInfo

NEW_TOKENS = 128
"""The default of how many tokens are written at most."""


class GeneratingTask(TextTask):
    """A task type whose model writes texts."""

    sides = ("right",)  # of what is learned

    def prepare(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        plan: HeadPlan,
        info: TextInfo,
    ) -> None:
        """Set how texts are padded, and where what is written begins and ends."""
        decodes = not model.config.is_encoder_decoder
        recorded = info.padding_side is not None
        how = info.model_copy(update={"padding_side": "right"}) if recorded else info
        super().prepare(processor, model, plan, how)
        config = model.generation_config
        if config is None:
            raise UnsupportedModelError(
                f"The base model {model.config.name_or_path!r} ({type(model).__name__}) cannot "
                "generate.",
                model.config.name_or_path,
            )
        ends = config.eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        if (end := end_token(processor)) not in ends:
            ends.append(end)
        config.eos_token_id = ends[0] if len(ends) == 1 else ends
        config.pad_token_id = processor.pad_token_id
        config.max_length = config.min_length = None  # which would count what is read, too
        config.max_new_tokens = info.target_max_length or NEW_TOKENS
        if decodes:
            processor.padding_side = "left"  # what is written follows what is read
            if not recorded:
                _require_alike(processor, model, self.name)
        elif config.decoder_start_token_id is None:
            config.decoder_start_token_id = getattr(model.config, "decoder_start_token_id", None)

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches that are filled up to their longest row."""
        return Batches(processor)

    def one_pass(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Refuse: an answer takes a pass for each token.

        Raises:
            UnsupportedModelError: Always.
        """
        raise UnsupportedModelError(
            f"{self.name} writes its answers a token at a time; expected a task type that answers "
            "in one forward pass.",
            self.name,
        )

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Texts of so many words, with what is to be learned."""
        return Rows("probe", {column.name: words(lengths) for column in self.columns})


@dataclass(frozen=True)
class Batches:
    """Batches of tokens, and of those that are to be learned.

    Rows whose answer is to be written are filled up where the tokenizer says. Rows that are to be
    learned are filled up at the right: what follows a token does not change what is said of it.

    Attributes:
        tokenizer: The base model's.
    """

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask`` and, where the features have them, ``labels``."""
        read = [{k: v for k, v in one.items() if k != "labels"} for one in features]
        learns = "labels" in features[0]
        side = "right" if learns else None
        batch = dict(self.tokenizer.pad(read, padding_side=side, return_tensors="pt"))
        if learns:
            labels = [torch.tensor(one["labels"]) for one in features]
            batch["labels"] = pad_sequence(labels, batch_first=True, padding_value=-100)
        return batch


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a text.

    Raises:
        UnsupportedModelError: The tokenizer has none.
    """
    for number in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if isinstance(number, int):
            return number
    raise UnsupportedModelError(
        f"The tokenizer of {tokenizer.name_or_path!r} has no token that ends a text. Add an "
        "eos_token to it.",
        tokenizer.name_or_path,
    )


def opened(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts to be continued: with the start token, without the end token.

    Raises:
        DataError: A text has no token, and there is no start token.
    """
    if not texts:
        return []
    end = end_token(tokenizer)
    whole = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    found = [ids[:-1] if ids and ids[-1] == end else ids for ids in whole]
    require_tokens(texts, found)
    return found


def _require_alike(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, name: str) -> None:
    """Make sure that what follows a text is the same beside a longer text as alone.

    Raises:
        UnsupportedModelError: It is not.
    """
    rows = [{"input_ids": ids} for ids in opened(tokenizer, words(LENGTHS))]
    run, was_training = Batches(tokenizer), model.training
    generating: Any = model
    model.train(False)
    try:
        together, alone = (
            generating.generate(
                **{k: v.to(model.device) for k, v in run(chosen).items()},
                max_new_tokens=1,
                num_beams=1,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            ).logits[0][-1]
            for chosen in (rows, rows[1:])
        )
    finally:
        model.train(was_training)
    if not close_enough(together, alone, model.dtype):
        raise UnsupportedModelError(
            f"The base model {model.config.name_or_path!r} ({type(model).__name__}) cannot be used "
            f"for {name}: it continues a text in another way beside a longer text than alone.",
            model.config.name_or_path,
        )
