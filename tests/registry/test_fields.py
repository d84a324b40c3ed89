"""What a field of a manifest or of a row may hold."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from registry.errors import InvalidNameError
from registry.fields import (
    Count,
    Finite,
    Json,
    Positive,
    Ref,
    Several,
    Text,
    Word,
    check_text,
    check_texts,
)


def accepts(kind: Any, value: object) -> bool:
    try:
        return bool(TypeAdapter(kind).validate_python(value) == value)
    except ValidationError:
        return False


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Word, ["a", "x" * 256, "ünï"], ["", "x" * 257, "a\nb", "\x1b[1m", "a\x00"]),
        (Text, ["", "a\n\tb\r\n", "x" * 65536], ["x" * 65537, "\x00", "\x1b[1m", "\x7f", "\x9b"]),
        (Count, [0, 2**63 - 1], [-1, 2**63]),
        (Positive, [1, 2**31 - 1], [0, 2**31]),
        (Finite, [0.5, -1e300], [float("nan"), float("inf")]),
        (Ref, ["film", "ada/film@2", "film@best"], ["", "a/b/c", "film@", "film@02"]),
        (Json, [None, {"a": [1, 2.5, "x"]}, 2**63 - 1, nested(16)], [2**63, nested(17), {1}]),
        (Json, ["a\n"], ["a\x00", {"a\x1b": 1}, [float("inf")], {"a": [{"b": float("nan")}]}]),
    ],
)
def test_a_kind_of_field_takes_what_can_be_stored_and_shown(
    kind: Any, good: list[object], bad: list[object]
) -> None:
    assert [value for value in good if not accepts(kind, value)] == []
    assert [value for value in bad if accepts(kind, value)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\ud800", "is not valid Unicode"),
        ("a\x00b", r"found '\\x00' as character 2"),
        ("xxxx", "has 4 characters, more than 3"),
    ],
)
def test_a_text_that_cannot_be_stored_is_refused_by_its_role(text: str, problem: str) -> None:
    with pytest.raises(InvalidNameError, match=f"The yank reason .*{problem}"):
        check_text("yank reason", text, most=3)
    assert check_text("yank reason", "abc", most=3) == "abc"


def test_texts_that_are_not_given_are_not_checked() -> None:
    check_texts(task="sentiment", base=None)
    with pytest.raises(InvalidNameError, match="The task type is refused"):
        check_texts(task="sentiment", task_type="\x1b")


def test_of_several_values_the_first_wrong_one_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Several[Word]).validate_json(b'["good", 0, 1, 2]')
    assert [error["loc"] for error in caught.value.errors()] == [(1,)]
