"""Whether two base models are the same one, as far as their descriptions tell."""

from __future__ import annotations

from registry.errors import BaseModelMismatchError
from registry.manifest import BaseModelInfo


def same_base(one: BaseModelInfo, other: BaseModelInfo) -> bool:
    """Whether two base models have the same weights, or else the same name and shape."""
    if one.fingerprint and other.fingerprint:
        return one.fingerprint == other.fingerprint
    return one.id == other.id and same_sizes(one, other)


def same_sizes(one: BaseModelInfo, other: BaseModelInfo) -> bool:
    """Whether two base models are of one width and depth, as far as both are known."""
    pairs = ((one.hidden_size, other.hidden_size), (one.num_layers, other.num_layers))
    return all(mine is None or yours is None or mine == yours for mine, yours in pairs)


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
            f"{one} and {other} belong to different base models: {bases}. Adapters combine on one "
            "base model only."
        )
    return BaseModelMismatchError(
        f"Nothing says that {one} and {other} belong to one base model: {bases}. If they do, "
        f"publish {' and '.join(unknown)} again with --base BASE, which is looked at and recorded."
    )


def describe_base(base: BaseModelInfo) -> str:
    """A base model in a message."""
    return f"{base.id} (fingerprint {(base.fingerprint or 'unknown')[:12]})"


def require_base(adapter: str, trained_on: BaseModelInfo, found: BaseModelInfo) -> None:
    """Make sure that a base model is the one that an adapter was trained on.

    Args:
        adapter: Which adapter, for the message.
        trained_on: The base model in its manifest.
        found: The base model at hand.

    Raises:
        BaseModelMismatchError: It has other weights. Where the manifest has no fingerprint, only
            the sizes are compared.
    """
    same = (
        trained_on.fingerprint == found.fingerprint
        if trained_on.fingerprint and found.fingerprint
        else same_sizes(trained_on, found)
    )
    if not same:
        raise BaseModelMismatchError(
            f"{adapter} was trained on {_told(trained_on)}, but {found.id} is {_told(found)}. "
            "Name the base model that it was trained on with --base.",
            found.id,
        )


def _told(base: BaseModelInfo) -> str:
    if base.fingerprint:
        return f"weights {base.fingerprint[:12]} of {base.architecture or base.id}"
    return f"{base.id} ({base.num_layers or 'some'} layers of {base.hidden_size or 'some size'})"
