"""The columns of token classification: tokens, tags and spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hubkit.tasks.columns import (
    NotExpectedError,
    is_unicode,
    label,
    labels_of,
    listed,
    parsed,
)


def token_list(value: Any) -> list[str]:
    """Tokens: a list, a JSON list as text, or one text with spaces between."""
    if isinstance(value, str):
        # Other brackets are tokens of a text.
        found = listed(value) if value.startswith(('["', "['")) else value
        tokens = found.split() if isinstance(found, str) else found
    else:
        tokens = getattr(value, "tolist", lambda: value)()
    if not isinstance(tokens, Sequence) or not all(
        isinstance(one, str) and one and is_unicode(one) for one in tokens
    ):
        raise NotExpectedError("a list of tokens, or tokens separated by spaces")
    return list(tokens)


def some_tokens(value: Any) -> list[str]:
    """Tokens, at least one."""
    if not (tokens := token_list(value)):
        raise NotExpectedError("at least one token")
    if not all(map(str.strip, tokens)):
        raise NotExpectedError("tokens that are not spaces")
    return tokens


def tag_list(value: Any) -> list[str]:
    """Tags: a list, a JSON list as text, or one text with spaces between."""
    found = listed(value)
    tags = found.split() if isinstance(found, str) else found
    if not isinstance(tags, Sequence) or isinstance(tags, bytes):
        raise NotExpectedError("a list of tags, or tags separated by spaces")
    return labels_of(tags)


def span_list(value: Any) -> list[dict[str, Any]]:
    """Spans in the order of the text: a list of objects with a start, an end and a label.

    A span may have its text, which then has to stand there.
    """
    expected = "a list of spans, each an object with a start, an end and a label"
    value = parsed(value, expected)
    if not isinstance(value, Sequence) or not all(isinstance(one, Mapping) for one in value):
        raise NotExpectedError(expected)
    spans = []
    for one in value:
        start, end = one.get("start"), one.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            raise NotExpectedError("spans with a start from 0, and an end behind it")
        span = {"start": start, "end": end, "label": label(one.get("label"))}
        spans.append(span | ({"text": one["text"]} if one.get("text") is not None else {}))
    return sorted(spans, key=lambda span: span["start"])
