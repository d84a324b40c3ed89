"""How adapters combine: pure data, written and read as ``fuse(a, stack(b, c))``.

The leaves are loaded adapters where a composition is to be attached to a model
(``hubkit.adapters.tree.Leaf``), and references (:class:`registry.AdapterRef`) where it is only
named. What is written here is true of both, so a part is any object. ``Tree.of`` expects loaded
adapters; :func:`leaves` gives either kind.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hubkit.methods.method import is_finite
from registry.arguments import checked
from registry.errors import CompositionError
from registry.refs import AdapterRef

MAX_DEPTH = 8
"""The depth to which compositions may nest."""

_NAME = re.compile(r"[^\s(),*=]+")


@dataclass(frozen=True, init=False)
class Composition:
    """Parts, each an adapter or another composition.

    Raises:
        CompositionError: Too few parts, the same part twice, a part that makes no sense there, or
            one that nests too deep.
    """

    verb: ClassVar[str]
    least: ClassVar[int] = 2
    parts: tuple[object, ...]

    def __init__(self, *parts: object) -> None:
        if len(parts) < self.least:
            raise CompositionError(
                f"{self.verb.capitalize()} needs at least {_spelled(self.least)}, found "
                f"{len(parts)}; a single adapter is used as it is."
            )
        seen = set()
        for part in parts:
            if _key(part) in seen:
                raise CompositionError(f"{part} is given twice; each part once.")
            seen.add(_key(part))
            self._check(part)
        object.__setattr__(self, "parts", parts)
        if depth(self) > MAX_DEPTH:
            raise CompositionError(
                f"The {self.verb} of {len(parts)} parts nests deeper than {MAX_DEPTH} levels."
            )

    def _check(self, part: object) -> None:
        """Refuse what makes no sense as a part."""
        for rows in inside(part):
            if isinstance(rows, Batch | Parallel):
                by_rows = isinstance(self, Batch | Parallel)
                cure = "Use one batch" if by_rows else f"Put the {self.verb} into the {rows.verb}"
                raise CompositionError(
                    f"A {rows.verb} cannot stand in a {self.verb}, which needs to know what each "
                    f"row uses. {cure} instead."
                )

    def __str__(self) -> str:
        return f"{self.verb}({', '.join(map(str, self.parts))})"


class Stack(Composition):
    """The parts one after the other: each reads what the one before it has changed."""

    verb = "stack"

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)
        by_rows = [part for part in inside(self) if isinstance(part, Batch | Parallel)]
        if len(by_rows) > 1:
            raise CompositionError(
                f"The stack holds {by_rows[0]} and {by_rows[1]}: only one may choose by rows. "
                "Use one batch of stacks."
            )

    def _check(self, part: object) -> None:
        # One language adapter for all, then another task adapter for each row.
        pass


class Fuse(Composition):
    """AdapterFusion: learned attention over what the parts would each add."""

    verb = "fuse"


@dataclass(frozen=True, init=False)
class Mix(Composition):
    """A weighted sum of what the parts would each add.

    Attributes:
        weights: A number for each part; None for weights to be learned, one for each part and site
            (Frohmann et al. 2024, arXiv 2310.01217), which start equal.
    """

    verb = "mix"
    least = 1
    weights: tuple[float, ...] | None

    @checked
    def __init__(self, *parts: object, weights: Iterable[float] | None = None) -> None:
        super().__init__(*parts)
        if weights is not None:
            weights = tuple(weights)
            if len(weights) != len(parts):
                raise CompositionError(
                    f"Each part has a weight: expected {len(parts)}, found {len(weights)}."
                )
            for weight in weights:
                if not is_finite(weight):
                    raise CompositionError(f"A weight is a finite number, not {weight!r}.")
            weights = tuple(map(float, weights))
        object.__setattr__(self, "weights", weights)

    def __str__(self) -> str:
        if self.weights is None:
            return super().__str__()
        terms = (f"{w!r}*{part}" for w, part in zip(self.weights, self.parts, strict=True))
        return f"{self.verb}({', '.join(terms)})"


@dataclass(frozen=True, init=False)
class Batch(Composition):
    """Another composition, or none, for every row of the input.

    Args:
        rows: A list with an entry for each row; or named entries, from which
            ``attached.rows([...])`` chooses for every call.

    Attributes:
        parts: The different entries.
        rows: For each row its place in ``parts``, or None; None where they are named.
        names: Names with their places in ``parts``; None where each row has its own.
    """

    verb = "batch"
    least = 1
    rows: tuple[int | None, ...] | None
    names: tuple[tuple[str, int], ...] | None

    def __init__(self, rows: Sequence[object] | Mapping[str, object]) -> None:
        if isinstance(rows, str | Composition) or not isinstance(rows, Sequence | Mapping):
            raise CompositionError(f"Batch takes a list with an entry for each row, not {rows!r}.")
        named = isinstance(rows, Mapping)
        entries = list(rows.values()) if isinstance(rows, Mapping) else list(rows)
        for name in rows if named else ():
            if not isinstance(name, str):
                raise CompositionError(f"The names in a batch are text, not {name!r}.")
            if not _NAME.fullmatch(name):
                raise CompositionError(
                    f"A name in a batch has no blanks and none of (),*= in it, not {name!r}."
                )
        if named and any(entry is None for entry in entries):
            raise CompositionError("A row without an adapter is chosen with None; name none.")
        parts: dict[Hashable, object] = {}
        for entry in entries:
            if entry is not None:
                parts.setdefault(_key(entry), entry)
        if not parts:
            raise CompositionError("Batch needs at least one adapter, found none.")
        super().__init__(*parts.values())
        numbers = {key: place for place, key in enumerate(parts)}
        places = [None if entry is None else numbers[_key(entry)] for entry in entries]
        object.__setattr__(self, "rows", None if named else tuple(places))
        object.__setattr__(self, "names", tuple(zip(rows, places, strict=True)) if named else None)

    def __str__(self) -> str:
        if self.names is not None:
            return f"batch({', '.join(f'{name}={self.parts[i]}' for name, i in self.names)})"
        assert self.rows is not None
        return f"batch({', '.join('-' if i is None else str(self.parts[i]) for i in self.rows)})"


class Parallel(Composition):
    """One input through several parts at once: the output has a copy of the rows for each.

    All below the first layer that a part changes runs once.
    """

    verb = "parallel"


def leaves(composition: object) -> Iterator[object]:
    """The adapters of ``composition``, from left to right."""
    if isinstance(composition, Composition):
        for part in composition.parts:
            yield from leaves(part)
    else:
        yield composition


def inside(composition: object) -> Iterator[Composition]:
    """The compositions in ``composition``, itself first."""
    if isinstance(composition, Composition):
        yield composition
        for part in composition.parts:
            yield from inside(part)


def depth(composition: object) -> int:
    """How deep ``composition`` nests, trained fusions in it included; an adapter does not."""
    parts = getattr(composition, "parts", ())
    return 1 + max(map(depth, parts)) if parts else 0


def _key(part: object) -> Hashable:
    """A key that is equal for equal parts: loaded adapters are only equal to themselves."""
    if isinstance(part, Composition):
        others = (getattr(part, name, None) for name in ("weights", "rows", "names"))
        return type(part), *others, *map(_key, part.parts)
    return part if isinstance(part, str | AdapterRef) else id(part)


def _spelled(least: int) -> str:
    return "one adapter" if least == 1 else "two adapters"
