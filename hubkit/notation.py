"""The text form of a composition.

::

    fuse(a, stack(b, c))        mix(0.3*a, 0.7*b)       parallel(a, b)
    batch(a, b, -)              batch(u1=a, u2=b)

A ``-`` is a row without an adapter. A mix without weights is one whose weights are learned. What
``str`` gives for a composition of references is read back as an equal one.
"""

from __future__ import annotations

import re

from hubkit.composition import MAX_DEPTH, Batch, Composition, Fuse, Mix, Parallel, Stack
from registry.arguments import checked
from registry.errors import CompositionError, did_you_mean
from registry.refs import AdapterRef

_VERBS: dict[str, type[Composition]] = {
    cls.verb: cls for cls in (Stack, Fuse, Mix, Batch, Parallel)
}
_TOKEN = re.compile(r"\s*([(),*=]|[^\s(),*=]+)")
_MARKS = "(),*="

_Item = tuple[str | None, Composition | AdapterRef | None]
"""A part, with the weight or the name before it; None for a row without an adapter."""


@checked
def parse(text: str) -> Composition | AdapterRef:
    """Read the text form of a composition.

    Raises:
        CompositionError: Bad syntax, with the place; or a composition that makes no sense.
        InvalidNameError: A leaf is not an adapter reference.
    """
    parser = _Parser(text)
    composition = parser.composition(depth=0)
    if parser.next is not None:
        parser.fail(f"nothing may follow at {parser.next!r}")
    return composition


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _TOKEN.findall(text)
        self._position = 0

    @property
    def next(self) -> str | None:
        """The current token; None at the end."""
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def fail(self, reason: str) -> None:
        raise CompositionError(f"Cannot read {self._text!r}: {reason}.")

    def composition(self, depth: int) -> Composition | AdapterRef:
        if depth > MAX_DEPTH:
            shown = f"{self._text[:60]}..." if len(self._text) > 60 else self._text
            raise CompositionError(f"{shown!r} nests deeper than {MAX_DEPTH} levels.")
        head = self._word("an adapter or a verb")
        if self.next != "(":
            return AdapterRef.parse(head)
        if head not in _VERBS:
            raise CompositionError(
                f"Unknown verb {head!r} in {self._text!r}; hubkit knows {', '.join(_VERBS)}."
                f"{did_you_mean(head, _VERBS)}"
            )
        items = []
        while self.next != ")":
            self._position += 1  # past the parenthesis or the comma
            items.append(self._item(head, depth))
            if self.next not in (",", ")"):
                self.fail(f"expected ',' or ')', found {self._found()}")
        self._position += 1
        return self._made(head, items)

    def _item(self, verb: str, depth: int) -> _Item:
        mark = {"mix": "*", "batch": "="}.get(verb)
        before = None
        following = self._tokens[self._position + 1 : self._position + 2]
        if mark and following == [mark]:
            before = self._word("a weight" if verb == "mix" else "a name")
            self._position += 1
        if verb == "batch" and before is None and self.next == "-":
            self._position += 1
            return None, None
        return before, self.composition(depth + 1)

    def _made(self, verb: str, items: list[_Item]) -> Composition:
        labels, parts = [label for label, _ in items], [part for _, part in items]
        with_label = [label for label in labels if label is not None]
        if with_label and len(with_label) < len(labels):
            self.fail(f"in a {verb}, either all parts have one before them or none")
        if verb == "mix":
            return Mix(*parts, weights=[*map(self._number, with_label)] or None)
        if verb == "batch":
            if len(set(with_label)) < len(with_label):
                self.fail("a name stands twice")
            return Batch(dict(zip(with_label, parts, strict=True)) if with_label else parts)
        return _VERBS[verb](*parts)

    def _word(self, expected: str) -> str:
        token = self.next
        if token is None or token in _MARKS:
            self.fail(f"expected {expected}, found {self._found()}")
        self._position += 1
        assert token is not None
        return token

    def _number(self, word: str) -> float:
        try:
            return float(word)
        except ValueError:
            raise CompositionError(
                f"Cannot read {self._text!r}: expected a number before '*', found {word!r}."
            ) from None

    def _found(self) -> str:
        return "the end" if self.next is None else repr(self.next)
