"""Whether two base models are the same one: the one place where this is asked. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.errors import BaseModelMismatchError, OtherBaseError
from registry.fields import Json
from registry.manifest import BaseModelInfo, canonical_digest

_SET_IN_TRAINING = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
"""Ids that the base model may leave open; Trainer then writes the tokenizer's."""

_OF_CHANCE = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p")
"""Settings that count only if a text is drawn by chance."""
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two descriptions of base models say of each other.

    Attributes:
        differences: The differences, such as ``the weights (expected 1234, found abcd)``.
        notes: What differs and makes no difference to which base model it is, as sentences.
        unknown: What one of them does not record: among ``weights``, ``configuration`` and
            ``tokenizer``.
    """

    differences: tuple[str, ...]
    notes: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing that both record tells them apart."""
        return not self.differences


def identity(base: BaseModelInfo) -> str:
    """One digest over all that a base model is compared by."""
    later = {"settings": base.tokenizer_settings, "generation": base.generation}
    return canonical_digest(
        {
            "weights": base.fingerprint,
            "configuration": base.config_digest,
            "tokenizer": base.tokenizer_digest,
            "parts": dict(base.parts),
            **{name: dict(told) for name, told in later.items() if told is not None},
        }
    )


def compare(expected: BaseModelInfo, found: BaseModelInfo) -> Comparison:
    """Compare two base models by all that both record.

    The same weights in another dtype are the same base model, with a note.

    Args:
        expected: The one that an adapter was trained on.
        found: Another one, or the one at hand.
    """
    differences: list[str] = []
    notes: list[str] = []
    unknown: list[str] = []
    if expected.fingerprint is None or found.fingerprint is None:
        unknown.append("weights")
        differences.extend(_sizes(expected, found))
    elif expected.fingerprint != found.fingerprint:
        # In one dtype, other bytes are other weights, also where they agree once rounded.
        other_dtype = expected.dtype is None or expected.dtype != found.dtype
        if other_dtype and _fingerprints(expected) & _fingerprints(found):
            notes.append(
                f"The weights of {found.id} are those of training in another dtype: "
                f"{expected.dtype or 'unknown'} in training, {found.dtype or 'unknown'} here."
            )
        else:
            differences.append(_weights(expected, found))
    if expected.config_digest is None or found.config_digest is None:
        unknown.append("configuration")
    elif expected.config_digest != found.config_digest:
        if expected.config is None or found.config is None:
            differences.append("the configuration")
        else:
            _compare_settings("configuration", expected.config, found.config, differences, notes)
    if expected.tokenizer_digest is None or found.tokenizer_digest is None:
        unknown.append("tokenizer")
    elif expected.tokenizer_digest != found.tokenizer_digest:
        differences.append(
            f"the {_processor(expected)} (expected {expected.tokenizer_digest[:12]}, found "
            f"{found.tokenizer_digest[:12]})"
        )
    if expected.tokenizer_settings is not None and found.tokenizer_settings is not None:
        its = expected.tokenizer_settings
        _compare_settings("tokenizer", its, found.tokenizer_settings, differences, notes)
    if expected.generation is not None and found.generation is not None:
        _compare_generation(expected.generation, found.generation, differences, notes)
    changed = [
        path
        for path in sorted(expected.parts.keys() & found.parts.keys())
        if expected.parts[path] != found.parts[path]
    ]
    if changed and "float16" in (expected.dtype, found.dtype) and expected.dtype != found.dtype:
        # Rounding to float16 first and then to bfloat16 gives other weights than rounding to
        # bfloat16 at once.
        notes.append(f"Not compared in float16: the weights of {', '.join(changed)}.")
    else:
        differences.extend(f"the weights of the {path}" for path in changed)
    return Comparison(tuple(differences), tuple(notes), tuple(unknown))


def _processor(base: BaseModelInfo) -> str:
    """The name of what turns rows into numbers: a tokenizer or an image processor."""
    return "image processor" if "num_channels" in (base.config or {}) else "tokenizer"


RECORDED_WITH = {
    "fingerprint": ("fingerprint", "dtype", "rounded"),
    # Who does not know the configuration does not know the pooler, either.
    "config_digest": ("config", "config_digest", "parts"),
    "tokenizer_digest": ("tokenizer_digest",),
    "tokenizer_settings": ("tokenizer_settings",),
    "generation": ("generation",),
}
"""The fields that are taken together from another description, by the field that is missing."""
NAMES = {
    "fingerprint": "weights",
    "config_digest": "configuration",
    "tokenizer_digest": "tokenizer",
    "tokenizer_settings": "settings of the tokenizer",
    "generation": "generation configuration",
}
"""The names of these fields in messages."""


def lacking(base: BaseModelInfo, other: BaseModelInfo) -> list[str]:
    """The keys of `NAMES` that `other` describes and `base` does not."""
    return [
        field
        for field in NAMES
        if getattr(base, field) is None and getattr(other, field) is not None
    ]


def completed(base: BaseModelInfo, other: BaseModelInfo) -> BaseModelInfo:
    """Fill in what `base` does not describe from `other`, which must be the same base model."""
    taken = [name for field in lacking(base, other) for name in RECORDED_WITH[field]]
    if base.dtype is None and base.fingerprint in (None, other.fingerprint):
        taken.extend(("dtype", "rounded"))
    return base.model_copy(update={name: getattr(other, name) for name in taken})


def same_base(one: BaseModelInfo, other: BaseModelInfo) -> bool:
    """Whether two adapters are known to be of one base model.

    Where a fingerprint is missing, the same name has to do.
    """
    found = compare(one, other)
    return found.same and ("weights" not in found.unknown or one.id == other.id)


def base_mismatch(
    one: str, one_base: BaseModelInfo, other: str, other_base: BaseModelInfo
) -> BaseModelMismatchError:
    """The error for two adapters that are not known to be of one base model."""
    bases = f"{describe_base(one_base)} and {describe_base(other_base)}"
    unknown = [
        name for name, base in ((one, one_base), (other, other_base)) if base.fingerprint is None
    ]
    if not unknown:
        return BaseModelMismatchError(
            f"{one} and {other} belong to different base models: {bases}. They differ in "
            f"{_listed(compare(one_base, other_base).differences)}. Adapters combine on one base "
            "model only.",
            other,
            expected=one_base,
            found=other_base,
        )
    return BaseModelMismatchError(
        f"Nothing says that {one} and {other} belong to one base model: {bases}. If they do, "
        f"publish {' and '.join(unknown)} again with the base model at hand: its fingerprint is "
        "then recorded.",
        other,
        expected=one_base,
        found=other_base,
    )


def describe_base(base: BaseModelInfo) -> str:
    """A base model in a message."""
    return f"{base.id} (fingerprint {(base.fingerprint or 'unknown')[:12]})"


def require_base(adapter: str, trained_on: BaseModelInfo, found: BaseModelInfo) -> Comparison:
    """Make sure that a base model is the one that an adapter was trained on.

    Args:
        adapter: Which adapter, for the message.
        trained_on: The base model in its manifest.
        found: The base model at hand.

    Returns:
        What is to be noted of the two, and what could not be compared.

    Raises:
        OtherBaseError: It is another one. Where the manifest has no fingerprint, only the sizes of
            the weights are compared.
    """
    comparison = compare(trained_on, found)
    if not comparison.same:
        raise other_base(adapter, trained_on, found, comparison)
    return comparison


def other_base(
    adapter: str,
    expected: BaseModelInfo,
    found: BaseModelInfo,
    comparison: Comparison,
    *,
    since: str = "was trained on",
) -> OtherBaseError:
    """The error for a base model at hand that is not the one that an adapter belongs to.

    Args:
        adapter: Which adapter.
        expected: The base model that it belongs to.
        found: The one at hand.
        comparison: The differences.
        since: How the adapter came to belong to it.
    """
    return OtherBaseError(
        f"{adapter} {since} {expected.id}, but {found.id} differs in "
        f"{_listed(comparison.differences)}.",
        adapter,
        expected=expected,
        found=found,
    )


def _fingerprints(base: BaseModelInfo) -> set[str]:
    # Each covers its dtype, so that those of two dtypes are never equal.
    return {base.fingerprint or "", *base.rounded.values()}


def _weights(expected: BaseModelInfo, found: BaseModelInfo) -> str:
    assert expected.fingerprint is not None
    assert found.fingerprint is not None
    text = f"the weights (expected {expected.fingerprint[:12]}"
    text += f" in {expected.dtype}" if expected.dtype else ""
    text += f", found {found.fingerprint[:12]}"
    text += f" in {found.dtype}" if found.dtype else ""
    if not expected.rounded and found.dtype and "float16" in found.dtype:  # bfloat16, too
        text += "; the adapter does not record how they are rounded, so load them in float32"
    return f"{text})"


def _sizes(expected: BaseModelInfo, found: BaseModelInfo) -> Iterator[str]:
    for what, wanted, other in (
        ("the width", expected.hidden_size, found.hidden_size),
        ("the number of layers", expected.num_layers, found.num_layers),
    ):
        if wanted is not None and other is not None and wanted != other:
            yield f"{what} (expected {wanted}, found {other})"


def _compare_settings(
    what: str,
    expected: Mapping[str, Json],
    found: Mapping[str, Json],
    differences: list[str],
    notes: list[str],
) -> None:
    """Compare what both say; what one alone says may be new in a version of a library."""
    for name in sorted(expected.keys() & found.keys()):
        one, other = expected[name], found[name]
        may_differ = name.rpartition(".")[2] in _SET_IN_TRAINING and _may_agree(one, other)
        if one != other and not may_differ:
            differences.append(_difference(name, what, one, other))
    if alone := sorted(expected.keys() ^ found.keys()):
        notes.append(f"Not compared, as one {what} alone has it: {', '.join(alone)}.")


def _compare_generation(
    expected: Mapping[str, Json],
    found: Mapping[str, Json],
    differences: list[str],
    notes: list[str],
) -> None:
    """Compare all fields; what one does not say is the default."""
    for name in sorted(expected.keys() | found.keys()):
        one, other = expected.get(name), found.get(name)
        if one == other:
            continue
        difference = _difference(name, "generation configuration", one, other)
        if name in _OF_CHANCE or (name in _SET_IN_TRAINING and _may_agree(one, other)):
            notes.append(f"It differs in {difference}.")
        else:
            differences.append(difference)


def _difference(name: str, what: str, expected: Json, found: Json) -> str:
    return f"{name} of the {what} (expected {_shown(expected)}, found {_shown(found)})"


def _shown(value: Json) -> Json:
    """A value, or the beginning of its digest."""
    return value[:12] if isinstance(value, str) and _DIGEST.fullmatch(value) else value


def _may_agree(one: Json, other: Json) -> bool:
    """Whether two settings of token ids have one in common, or one leaves it open."""
    if one is None or other is None:
        return True
    ones, others = (value if isinstance(value, list) else [value] for value in (one, other))
    return any(value in others for value in ones)


def _listed(texts: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
