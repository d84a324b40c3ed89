"""Load base models, with what turns text or images into their inputs."""

from __future__ import annotations

import contextlib
import inspect
import logging as python_logging
import sys
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import transformers
from huggingface_hub import is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER
from transformers.utils import logging

from hubkit.bases.fingerprint import NOT_BACKBONE
from registry.errors import BaseModelNotFoundError, reason_of

_MASK = "attention_mask"
_LONGEST_REASON = 300
_PIECES = "chunk_size_feed_forward"
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json")
# What transformers raises, in the end, where files hold something else than it expects.
_UNREADABLE = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError),
    *(RuntimeError, TypeError, ValueError, SafetensorError, StrictDataclassError),
    UnpicklingError,
)

logger = python_logging.getLogger(__name__)


def commit_of(model: PreTrainedModel) -> str | None:
    """The commit of a hub's repository that a model was loaded from; None for any other."""
    commit: str | None = getattr(model.config, "_commit_hash", None)
    return commit


def _commit_in_cache(base: str, revision: str | None) -> str | None:
    """The commit that a revision of a hub id stands for here; None for a folder."""
    if Path(base).is_dir():
        return None
    config = try_to_load_from_cache(base, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None


def load_config(base: str) -> PreTrainedConfig:
    """The configuration of a base model.

    Raises:
        BaseModelNotFoundError: It is not there, or cannot be read.
    """
    with _base_model_errors(base), _quiet():
        config: PreTrainedConfig = AutoConfig.from_pretrained(base)
    return config


def load_model(base: str, auto_class: Any, **settings: Any) -> PreTrainedModel:
    """Load a base model with ``auto_class.from_pretrained``; a new head starts at random.

    Args:
        base: A hub id, or a folder that ``save_pretrained`` wrote.
        auto_class: Such as ``AutoModelForSequenceClassification``.
        settings: Passed on to it, such as ``num_labels``; and ``revision``, as in
            :func:`load_for_head`.

    Raises:
        BaseModelNotFoundError: It is not there, cannot be read, or has no weights for a part of the
            backbone.
    """
    return load_for_head(base, auto_class, **settings)[0]


def load_backbone(base: str, revision: str | None = None) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load a base model to see what it is, and the names of its parameters that start at random.

    It comes without its head, unless only the class that it was saved from finds its weights, as
    with an encoder that was saved without its decoder.

    Raises:
        BaseModelNotFoundError: As :func:`load_model`.
    """
    at = revision or "main"
    model, new = _load(base, AutoModel, revision=at)
    if _in_backbone(model, new):
        for name in model.config.architectures or ():
            if own_class := getattr(transformers, name, None):
                model, new = _load(base, own_class, revision=at)
    _require_backbone(base, model, new)
    return model, new


def load_for_head(
    base: str, auto_class: Any, *, revision: str | None = None, **settings: Any
) -> tuple[PreTrainedModel, frozenset[str]]:
    """As :func:`load_model`, and the names of the head's parameters that start at random.

    A base model may hold weights for a part of the head: ModernBERT's have its first layer.

    Args:
        revision: Which commit of a hub id; default: the newest. Where it cannot be had, the newest
            is taken, with a note, and compared like any other.

    Raises:
        BaseModelNotFoundError: As :func:`load_model`.
    """
    try:
        model, new = _load(base, auto_class, revision=revision or "main", **settings)
    except BaseModelNotFoundError:
        if revision is None:
            raise
        model, new = _load(base, auto_class, **settings)
        logger.warning(
            "The revision %s of the base model %s is not available: its main branch is used.",
            revision,
            base,
        )
    _require_backbone(base, model, new)
    return model, new


def _load(base: str, auto_class: Any, **settings: Any) -> tuple[PreTrainedModel, frozenset[str]]:
    """The model, and the names of the parameters that have no weights in `base`."""
    with _base_model_errors(base), _quiet():
        # A base model may have been trained with a head for other labels, which is of no use here.
        model, report = auto_class.from_pretrained(
            base, output_loading_info=True, ignore_mismatched_sizes=True, **settings
        )
    # The same numbers in pieces, which fails on texts that are no multiple of them.
    for module in model.modules():
        if getattr(module, _PIECES, 0):
            setattr(module, _PIECES, 0)
    # transformers no longer says which commit it was.
    vars(model.config)["_commit_hash"] = _commit_in_cache(base, settings.get("revision"))
    mismatched = (name for name, *_ in report["mismatched_keys"])
    return model, frozenset(report["missing_keys"]).union(mismatched)


def _require_backbone(base: str, model: PreTrainedModel, new: frozenset[str]) -> None:
    if lost := _in_backbone(model, new):
        raise BaseModelNotFoundError(
            f"The base model {base!r} has no weights of that size for {len(lost)} tensors of "
            f"{type(model).__name__}, such as {min(lost)!r}; they would be random, and others each "
            "time. Name a base model that was saved with them.",
            base,
        )


def _in_backbone(model: PreTrainedModel, names: frozenset[str]) -> set[str]:
    """Those of `names` that are weights of the backbone."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    return {
        name
        for name in names
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith(NOT_BACKBONE)
    }


def load_tokenizer(base: str, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a base model, and let it cut where ``model`` ends.

    The model's configuration gets the padding token. Otherwise, the answer to a text would depend
    on the other texts of its batch.

    Raises:
        BaseModelNotFoundError: It is not there, cannot be read, or knows no word.
    """
    try:
        with _quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                base, revision=commit_of(model) or "main"
            )
    except (OSError, ValueError, KeyError) as error:
        raise _no_tokenizer(base, ["tokenizer.json"]) from error
    # Without its files, transformers makes one that takes every word for an unknown one.
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    if not any(char.isalnum() for word in words for char in word):
        files = {"tokenizer_file": "tokenizer.json", **tokenizer.vocab_files_names}
        raise _no_tokenizer(base, sorted(files.values()))
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions(model))
    names = tokenizer.model_input_names
    if _MASK not in names and _MASK in inspect.signature(model.forward).parameters:
        tokenizer.model_input_names = [*names, _MASK]
    return tokenizer


def find_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer whose files lie in a folder; None if there is none that can be read."""
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        return None  # else transformers makes one that knows no word
    try:
        with _quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except _UNREADABLE:
        return None
    return tokenizer


def load_image_processor(base: str, model: PreTrainedModel) -> BaseImageProcessor:
    """Load the image processor that belongs to a base model.

    Raises:
        BaseModelNotFoundError: It is not there, or cannot be read.
        ImportError: Pillow is not installed.
    """
    try:
        with _quiet():
            processor: BaseImageProcessor = AutoImageProcessor.from_pretrained(
                base, revision=commit_of(model) or "main"
            )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelNotFoundError(
            f"The base model {base!r} has no image processor that transformers can read: expected "
            f"a preprocessor_config.json. Copy it from where the model came from.{_offline()}",
            base,
        ) from error
    return processor


def positions(model: PreTrainedModel) -> int:
    """How many tokens of a text ``model`` can tell the places of; very many where there is no end.

    RoBERTa and its kin count from behind the place that stands for padding: the first places of
    their table are never used.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    unused = 0
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            break
    return limit - unused if isinstance(limit, int) and limit > 0 else VERY_LARGE_INTEGER


def _no_tokenizer(base: str, files: list[str]) -> BaseModelNotFoundError:
    folder = "that folder" if Path(base).is_dir() else "its repository"
    return BaseModelNotFoundError(
        f"The base model {base!r} has no tokenizer that transformers can read: expected the files "
        f"of one in {folder} ({', '.join(files)}). Copy them from where the model came from, or "
        f"name a base model that has them.{_offline()}",
        base,
    )


def _offline() -> str:
    return " HF_HUB_OFFLINE is set: the Hub was not asked." if is_offline_mode() else ""


@contextlib.contextmanager
def _base_model_errors(base: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        first = str(error).strip().partition("\n")[0].strip()
        whole = not first or first.endswith(":") or type(error) is KeyError
        reason = reason_of(error)[:_LONGEST_REASON] if whole else first
        if Path(base).is_dir():
            where = f"the folder holds no model that transformers can read ({reason})"
        elif base.startswith(("/", ".", "~")) or base.count("/") > 1:
            where = "there is no such folder"
        else:
            where = f"it is neither a folder here nor a model that the Hub gave us ({reason})"
        raise BaseModelNotFoundError(
            f"The base model {base!r} cannot be loaded: {where}. Expected a folder or a hub id; "
            f"a private model needs HF_TOKEN.{_offline()}",
            base,
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No report of the head's missing weights: a head that is not in the base is what we train."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if bar and not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
