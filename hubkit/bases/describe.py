"""Say what a base model is: its weights, configuration and tokenizer, as digests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from hubkit.bases.configuration import generation_settings_of, settings_of
from hubkit.bases.fingerprint import (
    SMALL_DTYPES,
    digest_parts,
    dtype_name,
    fingerprint,
    fingerprints,
)
from hubkit.bases.load import commit_of, load_backbone, load_image_processor, load_tokenizer
from hubkit.bases.names import normalize
from hubkit.bases.parts import parts_of
from hubkit.bases.tokenization import described_processor
from hubkit.nn.host import backbone, num_layers
from registry.errors import BaseModelNotFoundError, UnsupportedModelError
from registry.manifest import BaseModelInfo, canonical_digest, manifest_errors


def describe(
    model: PreTrainedModel,
    processor: PreTrainedTokenizerBase | BaseImageProcessor | None = None,
    *,
    like: BaseModelInfo | None = None,
    own: Collection[str] = (),
) -> BaseModelInfo:
    """What ``model`` is, with its weights, configuration and tokenizer, as the manifest stores it.

    Args:
        model: A model, with or without a head.
        processor: Its tokenizer or image processor; default: the one that lies where the model was
            loaded from.
        like: A base model to compare it with: then its weights are rounded to other dtypes only
            if that is what tells the two apart.
        own: Parameters that are not part of the base model, by name: those that started at random,
            and those of an adapter's head. What `like` names among its parts is described all the
            same.
    """
    if processor is None:
        digests = _stored(str(model.config.name_or_path), model)
    else:
        digests = described_processor(processor)
    found = describe_model(model, like=like, own=own)
    return found.model_copy(update=digests)


def describe_model(
    model: PreTrainedModel, *, like: BaseModelInfo | None = None, own: Collection[str] = ()
) -> BaseModelInfo:
    """As :func:`describe`, without the tokenizer."""
    digest = fingerprint(model)
    settings = settings_of(model.config)
    writing: GenerationConfig | None = getattr(model, "generation_config", None)
    expected = set() if like is None else set(like.parts)
    theirs = set(parts_of(own, model.base_model_prefix)) - expected
    base = normalize(model.config.name_or_path or type(backbone(model)).__name__)
    with manifest_errors(f"The base model {base}"):
        return BaseModelInfo(
            id=base,
            revision=commit_of(model),
            architecture=type(backbone(model)).__name__,
            hidden_size=getattr(model.config, "hidden_size", None),
            num_layers=_num_layers(model),
            fingerprint=digest,
            dtype=dtype_name(model),
            rounded=_rounded(model, digest, like),
            config=settings,
            config_digest=canonical_digest(settings),
            generation=None if writing is None else generation_settings_of(writing),
            parts={path: part for path, part in digest_parts(model).items() if path not in theirs},
        )


def describe_base_model(base: str, revision: str | None = None) -> BaseModelInfo:
    """Load a base model to see what it is.

    Args:
        base: A hub id, or a folder that ``save_pretrained`` wrote.
        revision: Which commit of a hub id; default: the newest.

    Raises:
        BaseModelNotFoundError: As :func:`load_model`.
    """
    model, new = load_backbone(base, revision)
    return describe(model, own=new)


def _rounded(model: PreTrainedModel, digest: str, like: BaseModelInfo | None) -> dict[str, str]:
    """The fingerprints of the weights in other dtypes, where these are needed."""
    wanted: tuple[torch.dtype, ...] = SMALL_DTYPES
    if like is not None and like.fingerprint is not None:
        if digest in (like.fingerprint, *like.rounded.values()):
            return {}
        # An adapter of an earlier hubkit does not say in which dtype its base model was.
        wanted = (torch.float32, *SMALL_DTYPES)
    dtypes = tuple(dtype for dtype in wanted if _name(dtype) != dtype_name(model))
    return dict(zip(map(_name, dtypes), fingerprints(model, dtypes), strict=True))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _stored(base: str, model: PreTrainedModel) -> dict[str, Any]:
    """What the tokenizer or the image processor in ``base`` is; nothing if it has neither."""
    if not base:
        return {}
    try:
        return described_processor(load_tokenizer(base, model))
    except BaseModelNotFoundError:
        pass
    try:
        return described_processor(load_image_processor(base, model))
    except (BaseModelNotFoundError, ImportError):
        return {}


def _num_layers(model: PreTrainedModel) -> int | None:
    try:
        return num_layers(model)
    except UnsupportedModelError:  # an adapter that hubkit only keeps may be of any architecture
        count: int | None = getattr(model.config, "num_hidden_layers", None)
        return count
