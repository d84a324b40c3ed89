"""A flexible head on a base model: what AdapterHub's library builds from a configuration.

The head is a row of linear layers on what the backbone gives, as ``adapters`` 1.3
(https://github.com/adapter-hub/adapters) computes it: of each token, or of the one token that
stands for the row. The model around both is a transformers model like any other. It is called as
that library calls it, such as ``BertAdapterModel``, and names its parts alike but for the head.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModel,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    ImageClassifierOutput,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    Seq2SeqLMOutput,
    Seq2SeqQuestionAnsweringModelOutput,
    Seq2SeqSequenceClassifierOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import ModelOutput

from hubkit.bases.decoders import is_decoder
from hubkit.bases.load import load_for_head
from hubkit.formats.heads import FLEXIBLE
from hubkit.models.head import head_tensors
from registry.arguments import checked
from registry.errors import AdapterError, DataError, did_you_mean
from registry.folders.flexible_heads import FlexibleHead


@dataclass(frozen=True)
class _HeadType:
    """What is true of every head of a type.

    Attributes:
        fits: Whether a base model without a head gives what the head reads.
        output: What the model returns.
        output_of_encoder_decoder: What it returns where the base model is an encoder-decoder; None
            if there are no such models.
        of_row: Whether the head reads what stands for a row, and not each token.
        generates: Whether the model writes texts.
    """

    fits: Callable[[PreTrainedModel], bool]
    output: type[ModelOutput]
    output_of_encoder_decoder: type[ModelOutput] | None = None
    of_row: bool = False
    generates: bool = False


def _reads_texts(backbone: PreTrainedModel) -> bool:
    return backbone.main_input_name == "input_ids"


def _reads_images(backbone: PreTrainedModel) -> bool:
    return not _reads_texts(backbone)


def _reads_texts_alone(backbone: PreTrainedModel) -> bool:
    """Reads texts, and has no decoder that would write some."""
    return _reads_texts(backbone) and not backbone.config.is_encoder_decoder


def _fills_gaps(backbone: PreTrainedModel) -> bool:
    config = backbone.config
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder


_HEAD_TYPES: Mapping[str, _HeadType] = {
    "classification": _HeadType(
        _reads_texts, SequenceClassifierOutput, Seq2SeqSequenceClassifierOutput, of_row=True
    ),
    "multilabel_classification": _HeadType(
        _reads_texts, SequenceClassifierOutput, Seq2SeqSequenceClassifierOutput, of_row=True
    ),
    "image_classification": _HeadType(_reads_images, ImageClassifierOutput, of_row=True),
    "multiple_choice": _HeadType(_reads_texts_alone, MultipleChoiceModelOutput, of_row=True),
    "tagging": _HeadType(_reads_texts_alone, TokenClassifierOutput),
    "question_answering": _HeadType(
        _reads_texts, QuestionAnsweringModelOutput, Seq2SeqQuestionAnsweringModelOutput
    ),
    "masked_lm": _HeadType(_fills_gaps, MaskedLMOutput),
    "causal_lm": _HeadType(
        lambda backbone: is_decoder(backbone.config), CausalLMOutputWithPast, generates=True
    ),
    "seq2seq_lm": _HeadType(
        lambda backbone: bool(backbone.config.is_encoder_decoder),
        Seq2SeqLMOutput,
        Seq2SeqLMOutput,
        generates=True,
    ),
}


class FlexibleHeadModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A backbone with a flexible head; :func:`with_flexible_head` makes one.

    Attributes:
        flexible: How the head is built.
        head: Its layers.
        num_labels: How many outputs it has, where these are no words.
    """

    # A loss is the mean over what it is given, whatever the batch is a part of.
    accepts_loss_kwargs = False

    def __init__(self, backbone: PreTrainedModel, flexible: FlexibleHead) -> None:
        super().__init__(backbone.config)
        self.flexible = flexible
        if not flexible.use_pooler and getattr(backbone, "pooler", None) is not None:
            setattr(backbone, "pooler", None)  # noqa: B010  # nothing reads it
        setattr(self, self.base_model_prefix, backbone)
        self.head = _layers(flexible, backbone)
        if flexible.outputs is not None:
            self.num_labels = flexible.outputs
        self.all_tied_weights_keys = {
            f"{self.base_model_prefix}.{one}": f"{self.base_model_prefix}.{other}"
            for one, other in getattr(backbone, "all_tied_weights_keys", {}).items()
        }
        self.train(backbone.training)

    def get_output_embeddings(self) -> nn.Module | None:
        """The last layer of a head that makes words; None of another."""
        return self.head[-1] if self.flexible.makes_words else None

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """What a decoder is to read so that it says ``labels``: *shape* ``(rows, tokens)``."""
        stock: Any = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[type(self.config)]
        # That of the stock class asks its model for the configuration alone.
        return cast(Tensor, stock.prepare_decoder_input_ids_from_labels(self, labels))

    def forward(
        self,
        inputs: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """As the ``forward`` of a transformers model with a head of that kind.

        Args:
            inputs: The backbone's main input.
            labels: What is to be learned; of an extractive head the next two instead.
            start_positions: Where the answers start. *Shape:* ``(rows,)``.
            end_positions: Where they end. *Shape:* ``(rows,)``.
            return_dict: False for a tuple.
            named: All else that the backbone takes.

        Returns:
            ``loss``, where there is something to learn, then ``logits`` (or ``start_logits`` and
            ``end_logits``), and what the backbone gives beside the hidden state.

        Raises:
            DataError: A row has no token that ends it, where the head reads that token.
        """
        if inputs is not None:
            named[self.main_input_name] = inputs
        choices = 1
        if self.flexible.head_type == "multiple_choice":
            choices = named[self.main_input_name].shape[1]
            named = {name: _one_row_each(value) for name, value in named.items()}
        if self.config.is_encoder_decoder:
            self._start_decoder(named, labels)
        found = self.base_model(**named, return_dict=True)
        hidden = found.last_hidden_state
        if _HEAD_TYPES[self.flexible.head_type].of_row:
            hidden = self._of_row(hidden, found, named)
        elif getattr(self.config, "scale_decoder_outputs", False):  # as T5 does before its own head
            hidden = hidden * self.config.hidden_size**-0.5
        logits = self.head(hidden)
        kept: dict[str, Any] = {"logits": logits}
        if self.flexible.head_type == "multiple_choice":
            kept["logits"] = logits.view(-1, choices)
        if self.flexible.head_type == "question_answering":
            start, end = logits.unbind(-1)
            kept = {"start_logits": start, "end_logits": end}
            if start_positions is not None and end_positions is not None:
                kept["loss"] = _ends_loss(start, end, start_positions, end_positions)
        elif labels is not None:
            kept["loss"] = self._loss(kept["logits"], labels)
        output = _output(self, found, kept)
        return output.to_tuple() if return_dict is False else output

    def _start_decoder(self, named: dict[str, Any], labels: Tensor | None) -> None:
        """Give the decoder the target, or the text itself, shifted by one token."""
        if named.get("decoder_input_ids") is not None or "decoder_inputs_embeds" in named:
            return
        source = labels if self.flexible.head_type == "seq2seq_lm" else None
        source = named.get("input_ids") if source is None else source
        if source is not None:
            named["decoder_input_ids"] = self.prepare_decoder_input_ids_from_labels(source)

    def _of_row(self, hidden: Tensor, found: Any, named: Mapping[str, Any]) -> Tensor:
        """What stands for a row. *Shape:* ``(rows, width)``."""
        if self.flexible.use_pooler:
            return cast(Tensor, found.pooler_output)
        ids = named.get("input_ids")
        if self.config.is_encoder_decoder:
            return _at(hidden, self._end(ids))
        # The library reads the first token of a BERT also where it runs as a decoder.
        if type(self.config) in MODEL_FOR_MASKED_LM_MAPPING or not is_decoder(self.config):
            return hidden[:, 0]
        mask, padding = named.get("attention_mask"), self.config.pad_token_id
        if ids is None or padding is None:
            return hidden[:, -1] if mask is None else _at(hidden, _last(mask))
        # The library counts the tokens that are no padding, also where one stands inside of a text.
        start = 0 if mask is None else mask.argmax(-1)  # padding may come before the text
        return _at(hidden, start + (ids != padding).sum(-1) - 1)

    def _end(self, ids: Tensor | None) -> Tensor:
        """Where the last token of each text is that ends it."""
        ends = None if ids is None else ids == self.config.eos_token_id
        if ends is None or not bool(ends.any(-1).all()):
            raise DataError(
                f"A {self.flexible.head_type} head of a {type(self).__name__} reads the token that "
                f"ends a text (id {self.config.eos_token_id}); a row has none. Use the tokenizer "
                "of the base model."
            )
        return _last(ends)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.flexible.several:
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        if self.flexible.problem_type == "regression":
            return functional.mse_loss(logits.view(-1), labels.view(-1).to(logits.dtype))
        if self.flexible.shift_labels:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


@checked
def with_flexible_head(backbone: PreTrainedModel, flexible: FlexibleHead) -> FlexibleHeadModel:
    """A model that has ``backbone`` inside, with a new flexible head at initial weights.

    Args:
        backbone: A model without a head. A pooler that the head does not read is taken out.
        flexible: How the head is built.

    Raises:
        AdapterError: Such a head has no place on this base model.
    """
    _require_place(backbone, flexible)
    kind: Any = type(backbone)
    made = _class_for(kind, _HEAD_TYPES[flexible.head_type].generates)
    return made(backbone, flexible)


def load_with_flexible_head(
    base: str, flexible: FlexibleHead, *, revision: str | None = None, **settings: Any
) -> tuple[FlexibleHeadModel, frozenset[str]]:
    """Load a base model with a new flexible head, and the names of what starts at random in it.

    Args:
        base: A hub id, or a folder that ``save_pretrained`` wrote.
        flexible: How the head is built.
        revision: Which commit of a hub id, as ``hubkit.bases.load.load_for_head`` takes it.
        settings: What its configuration is to say, such as ``num_labels``.

    Raises:
        BaseModelNotFoundError: As ``hubkit.bases.load.load_model``.
        AdapterError: As :func:`with_flexible_head`.
    """
    backbone, new = load_for_head(base, AutoModel, revision=revision, **settings)
    model = with_flexible_head(backbone, flexible)
    if model.can_generate():
        # transformers reads it only for classes that generate, and a backbone does not.
        with contextlib.suppress(OSError):  # most base models have no such file
            model.generation_config = GenerationConfig.from_pretrained(
                base, revision=revision or "main"
            )
    inside = {f"{model.base_model_prefix}.{name}" for name in new}
    return model, frozenset(inside & model.state_dict().keys() | head_tensors(model).keys())


def shapes_by_width(flexible: FlexibleHead, width: int) -> dict[str, tuple[int, ...]] | None:
    """The shapes of a head's tensors by name; None for one that makes words, as the base model has.

    Args:
        flexible: How the head is built.
        width: The hidden size of a base model.
    """
    if flexible.makes_words:
        return None
    config: Any = SimpleNamespace(hidden_size=width)
    with torch.device("meta"):
        layers = nn.Sequential(*_of_classes(flexible, config))
    return {f"{FLEXIBLE}.{name}": tuple(one.shape) for name, one in layers.state_dict().items()}


@cache
def _class_for(backbone: type[PreTrainedModel], generates: bool) -> type[FlexibleHeadModel]:
    """The class of such models, with all that transformers knows of the architecture."""
    family = next(one for one in backbone.__mro__ if PreTrainedModel in one.__bases__)
    bases = (FlexibleHeadModel, *((GenerationMixin,) if generates else ()), family)
    name = f"{backbone.__name__.removesuffix('Model')}AdapterModel"
    made: Any = type(name, bases, {"__module__": __name__})

    # Trainer and generate look at the names of the arguments.
    def forward(self: FlexibleHeadModel, *arguments: Any, **named: Any) -> Any:
        return FlexibleHeadModel.forward(self, *arguments, **named)

    own = inspect.signature(FlexibleHeadModel.forward).parameters
    known = inspect.signature(backbone.forward).parameters
    kinds = inspect.Parameter
    named = [
        one.replace(kind=kinds.KEYWORD_ONLY)
        for name, one in {**known, **own}.items()
        if one.kind is not kinds.VAR_KEYWORD and name not in ("self", "inputs")
    ]
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [own["self"], *named, own["named"]]
    )
    made.forward = forward
    return cast(type[FlexibleHeadModel], made)


def _require_place(backbone: PreTrainedModel, flexible: FlexibleHead) -> None:
    """Make sure that a head can read what ``backbone`` gives."""
    kind, problem = flexible.head_type, ""
    if not _HEAD_TYPES[kind].fits(backbone):
        problem = "is of another kind than such heads are for"
    elif flexible.use_pooler and getattr(backbone, "pooler", None) is None:
        problem = "has no pooler, which the head reads"
    elif flexible.makes_words:
        problem = _odd_words(backbone, flexible)
    if problem:
        raise AdapterError(
            f"A {kind} head has no place on a {type(backbone).__name__}: it {problem}. Load the "
            "base model that the adapter was trained on."
        )
    known = {"leakyrelu", *ACT2FN}
    if flexible.activation is not None and flexible.activation.lower() not in known:
        raise AdapterError(
            f"The head has the activation_function {flexible.activation!r}, which transformers "
            f"does not know.{did_you_mean(flexible.activation, known)}"
        )


def _odd_words(backbone: PreTrainedModel, flexible: FlexibleHead) -> str:
    words, width = _embeddings(backbone).shape
    if flexible.words not in (None, words) and ties(backbone.config):
        return f"has embeddings of {words} words, and the head makes {flexible.words}"
    own = flexible.embedding_size or backbone.config.hidden_size
    if own != width and ties(backbone.config):
        return f"has embeddings of the width {width}, and the head makes words from {own}"
    return ""


def ties(config: PreTrainedConfig) -> bool:
    """Whether the last layer of a head that makes words is the embeddings of the base model.

    transformers 5 says so of each T5; ``scale_decoder_outputs`` is what the files of one say. Of
    mT5, whose words have weights of their own, nothing does.
    """
    own = config.model_type == "mt5" or not getattr(config, "scale_decoder_outputs", True)
    return bool(config.tie_word_embeddings) and not own


def _embeddings(backbone: PreTrainedModel) -> Tensor:
    found: Any = backbone.get_input_embeddings()
    return cast(Tensor, found.weight)


def _layers(flexible: FlexibleHead, backbone: PreTrainedModel) -> nn.Sequential:
    """The layers of a head, in the library's order: their numbers are a part of their names."""
    words = flexible.makes_words
    layers = _of_words(flexible, backbone) if words else _of_classes(flexible, backbone.config)
    head = nn.Sequential(*layers).to(backbone.dtype)
    head.apply(backbone._init_weights)
    if words and ties(backbone.config):
        last: Any = layers[-1]
        last.weight = backbone.get_input_embeddings().weight
    return head


def _of_classes(flexible: FlexibleHead, config: PreTrainedConfig) -> list[nn.Module]:
    width, dropout = config.hidden_size, flexible.dropout
    for name in ("classifier_dropout", "hidden_dropout_prob"):
        dropout = getattr(config, name, None) if dropout is None else dropout
    layers: list[nn.Module] = []
    for _ in range(flexible.layers - 1):
        layers += [nn.Dropout(dropout or 0.0), nn.Linear(width, width), *_activation(flexible)]
    assert flexible.outputs is not None
    last = nn.Linear(width, flexible.outputs, bias=flexible.bias)
    return [*layers, nn.Dropout(dropout or 0.0), last]


def _of_words(flexible: FlexibleHead, backbone: PreTrainedModel) -> list[nn.Module]:
    config = backbone.config
    width, inner = config.hidden_size, flexible.embedding_size or config.hidden_size
    layers: list[nn.Module] = []
    for index in range(flexible.layers - 1):
        layers += [nn.Linear(inner if index else width, inner), *_activation(flexible)]
        if flexible.layer_norm:
            layers.append(nn.LayerNorm(inner, eps=getattr(config, "layer_norm_eps", 1e-12)))
    words = flexible.words or len(_embeddings(backbone))
    return [*layers, nn.Linear(inner, words, bias=flexible.bias)]


def _activation(flexible: FlexibleHead) -> list[nn.Module]:
    if flexible.activation is None:
        return []
    name = flexible.activation.lower()
    return [nn.LeakyReLU() if name == "leakyrelu" else ACT2FN[name]]


def _one_row_each(value: Any) -> Any:
    """The choices of all rows as rows of their own."""
    return value.flatten(0, 1) if isinstance(value, Tensor) and value.ndim > 2 else value


def _last(counted: Tensor) -> Tensor:
    """The last place of each row that counts. *Shape:* ``(rows,)``."""
    places = torch.arange(counted.shape[-1], device=counted.device)
    return (places * counted).argmax(-1)


def _at(hidden: Tensor, places: Tensor) -> Tensor:
    # Where rows run through several adapters, there are several copies of each.
    places = places.repeat(len(hidden) // len(places))
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def _ends_loss(start: Tensor, end: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The mean of both; what lies outside of the text does not count."""
    outside = start.shape[1]
    losses = [
        functional.cross_entropy(logits, places.view(-1).clamp(0, outside), ignore_index=outside)
        for logits, places in ((start, starts), (end, ends))
    ]
    return (losses[0] + losses[1]) / 2


def _output(model: FlexibleHeadModel, found: Any, kept: dict[str, Any]) -> ModelOutput:
    head_type = _HEAD_TYPES[model.flexible.head_type]
    kind = head_type.output
    if model.config.is_encoder_decoder:
        assert head_type.output_of_encoder_decoder is not None  # the head has a place on the model
        kind = head_type.output_of_encoder_decoder
    names = [one.name for one in fields(cast(Any, kind))]
    return kind(**{name: found.get(name) for name in names} | kept)
