"""How adapters combine: pure data, written and read as ``fuse(a, stack(b, c))``.

The leaves are adapters (:class:`hubkit.Adapter`, :class:`hubkit.Fusion`) where a composition is to
be attached to a model, and references (:class:`registry.AdapterRef`) where it is only named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from registry.errors import CompositionError
from registry.refs import AdapterRef


@dataclass(frozen=True, init=False)
class Composition:
    """Two or more parts, each an adapter or another composition.

    Raises:
        CompositionError: Fewer than two parts, or the same part twice.
    """

    verb: ClassVar[str]
    parts: tuple[Any, ...]

    def __init__(self, *parts: Any) -> None:
        if len(parts) < 2:
            raise CompositionError(
                f"{self.verb.capitalize()} needs at least two adapters, found {len(parts)}; "
                "a single adapter is used as it is."
            )
        for index, part in enumerate(parts):
            # Identity for loaded adapters, whose tensors have no useful equality.
            if any(part is other or (_is_name(part) and part == other) for other in parts[:index]):
                raise CompositionError(
                    f"{self.verb.capitalize()} was given {part} twice; each adapter once."
                )
        object.__setattr__(self, "parts", parts)

    def __str__(self) -> str:
        return f"{self.verb}({', '.join(map(str, self.parts))})"


class Stack(Composition):
    """The parts one after the other: each reads what the one before it has changed."""

    verb = "stack"


class Fuse(Composition):
    """AdapterFusion: learned attention over what the parts would each add."""

    verb = "fuse"


def leaves(composition: Any) -> Iterator[Any]:
    """The adapters of ``composition``, from left to right."""
    if isinstance(composition, Composition):
        for part in composition.parts:
            yield from leaves(part)
    else:
        yield composition


_VERBS: dict[str, type[Composition]] = {cls.verb: cls for cls in (Stack, Fuse)}
_TOKEN = re.compile(r"\s*([(),]|[^\s(),]+)")
_MAX_DEPTH = 8


def parse(text: str) -> Composition | AdapterRef:
    """Read the text form of a composition.

    Raises:
        CompositionError: Bad syntax; the message shows where.
        InvalidNameError: A leaf is no adapter reference.
    """
    tokens = _TOKEN.findall(text)
    composition, rest = _parse(tokens, text, depth=0)
    if rest:
        raise CompositionError(f"Cannot read {text!r}: nothing may follow at {rest[0]!r}.")
    return composition


def _parse(tokens: list[str], text: str, depth: int) -> tuple[Composition | AdapterRef, list[str]]:
    if not tokens or tokens[0] in "(),":
        found = repr(tokens[0]) if tokens else "the end"
        raise CompositionError(
            f"Cannot read {text!r}: expected an adapter or a verb, found {found}."
        )
    if depth > _MAX_DEPTH:
        raise CompositionError(f"{text!r} nests deeper than {_MAX_DEPTH} levels.")
    head, rest = tokens[0], tokens[1:]
    if rest[:1] != ["("]:
        return AdapterRef.parse(head), rest
    if head not in _VERBS:
        raise CompositionError(
            f"Unknown verb {head!r} in {text!r}; hubkit knows {', '.join(_VERBS)}."
        )
    parts: list[Composition | AdapterRef] = []
    while True:
        part, rest = _parse(rest[1:], text, depth + 1)
        parts.append(part)
        if rest[:1] == [")"]:
            return _VERBS[head](*parts), rest[1:]
        if rest[:1] != [","]:
            found = repr(rest[0]) if rest else "the end"
            raise CompositionError(f"Cannot read {text!r}: expected ',' or ')', found {found}.")


def _is_name(part: Any) -> bool:
    return isinstance(part, (str, AdapterRef, Composition))
