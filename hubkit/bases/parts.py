"""Which parts of a model travel with an adapter, and which stay with the base model, by name.

A part is what lies between the backbone's layers and the outputs: the pooler, or a module of the
head. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Collection

from registry.manifest import BaseModelInfo


def parts_of(names: Collection[str], backbone: str) -> tuple[str, ...]:
    """The parts that parameters belong to, in their order.

    Args:
        names: Of parameters in a model, such as ``bert.pooler.dense.weight``.
        backbone: The name of the backbone in the model, such as ``bert``.
    """
    inside = f"{backbone}." if backbone else ""
    paths = (name.removeprefix(inside).partition(".")[0] for name in names)
    return tuple(dict.fromkeys(paths))


def without_parts(base: BaseModelInfo, paths: Collection[str]) -> BaseModelInfo:
    """A base model without the digests of the parts that travel with an adapter."""
    kept = {path: digest for path, digest in base.parts.items() if path not in paths}
    return base.model_copy(update={"parts": kept})
