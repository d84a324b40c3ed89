"""Compare a loaded base model with the one that a version belongs to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from hubkit.bases.compare import compare
from hubkit.bases.describe import describe, describe_base_model
from hubkit.bases.known import expected_base, known_bases, require_known_base
from registry import Manifest, Version
from registry.manifest import BaseModelInfo


def require_known_model(
    home: Path,
    version: Version,
    manifest: Manifest,
    model: PreTrainedModel,
    processor: PreTrainedTokenizerBase | BaseImageProcessor,
    *,
    base: str,
    own: Collection[str] = (),
    allow_mismatch: bool = False,
) -> BaseModelInfo:
    """As :func:`~hubkit.bases.known.require_known_base`, for a model that is loaded.

    Args:
        home: The registry's folder.
        version: The version to attach.
        manifest: Its manifest.
        model: The base model at hand, before anything is attached.
        processor: Its tokenizer or image processor.
        base: The name of this base model, for messages.
        own: Parameters that are not part of the base model, by name: those that started at random,
            and those of the version's head.
        allow_mismatch: Use another base model anyway, and note it.

    Returns:
        What the base model at hand is.

    Raises:
        OtherBaseError: It belongs to another one.
        StorageError: The note cannot be written.
    """
    expected = expected_base(manifest, known_bases(home, version))
    found = describe(model, processor, like=expected, own=own)
    if expected.architecture != found.architecture and not compare(expected, found).same:
        # Some classes load a part of the base model alone, such as its encoder.
        whole = describe_base_model(base, found.revision)
        if whole.architecture == expected.architecture:
            found = whole
    require_known_base(home, version, manifest, found, base=base, allow_mismatch=allow_mismatch)
    return found
