from __future__ import annotations

import io
from functools import partial

import pytest
from starlette.datastructures import Headers

from registry import Catalog
from registry.errors import RequestError, TooLargeError
from registry.server.asking import MOST_FIELDS, Asking, Body, NeedsThread, Text
from registry.server.memory import Memory


def asking(query: str = "", body: bytes | None = None) -> Asking:
    return Asking(
        method="GET",
        path="/api/models",
        query=query,
        params={},
        headers=Headers({}),
        base="http://hub",
        id="1",
        body=None if body is None else io.BytesIO(body),
    )


@pytest.mark.parametrize("text", ["true", "True", "1"])
def test_a_parameter_is_true_as_any_client_spells_it(text: str) -> None:
    assert asking(f"full={text}").flag("full")


@pytest.mark.parametrize("query", ["", "full=false", "full=False", "full=0", "full="])
def test_a_parameter_is_false_where_it_is_not_true(query: str) -> None:
    assert not asking(query).flag("full")


def test_a_parameter_that_is_neither_is_malformed() -> None:
    with pytest.raises(RequestError, match="true or false"):
        asking("full=maybe").flag("full")


def test_lists_repeat_their_key_with_or_without_brackets() -> None:
    ask = asking("filter=a&filter=b%20c&expand[]=x&expand%5B%5D=y")
    assert ask.values("filter") == ["a", "b c"]
    assert ask.values("expand") == ["x", "y"]


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "%D9%A1", "9" * 30])
def test_a_count_is_a_whole_number_above_nothing(text: str) -> None:
    with pytest.raises(RequestError, match="whole number"):
        asking(f"limit={text}").number("limit", default=5, most=10)


def test_a_count_has_a_default_and_a_most() -> None:
    assert asking().number("limit", default=5, most=10) == 5
    assert asking("limit=7").number("limit", default=5, most=10) == 7
    assert asking("limit=700").number("limit", default=5, most=10) == 10


def test_the_next_page_is_this_one_with_another_cursor() -> None:
    ask = asking("filter=a%26b&cursor=old&limit=2&filter=c")
    assert ask.next_page(cursor="5:1 ü")["Link"] == (
        '<http://hub/api/models?filter=a%26b&limit=2&filter=c&cursor=5%3A1%20%C3%BC>; rel="next"'
    )


@pytest.mark.parametrize(
    "query", ["a=%ff", "a=%00", "a=b%0d", "&".join(["a=1"] * (MOST_FIELDS + 1))]
)
def test_a_query_that_is_no_text_or_endless_is_malformed(query: str) -> None:
    with pytest.raises(RequestError):
        asking(query).value("a")


class Wanted(Body):
    name: Text
    size: int = 0


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"a"', b"{}", b'{"name": 3}', b'{"name": "a", "size": "x"}'),
        *(b'{"name": "a\\u0000"}', b'{"name": "\\ud800"}', b"\xff\xfe", b"[" * 100_000),
    ],
)
def test_a_body_that_is_something_else_is_malformed(body: bytes) -> None:
    with pytest.raises(RequestError):
        asking(body=body).read(Wanted)


def test_a_body_is_read_as_its_type_and_what_is_unknown_is_left_out() -> None:
    body = '{"name": "a\\n\\tü", "size": 3, "later": [1]}'.encode()
    assert asking(body=body).read(Wanted) == Wanted(name="a\n\tü", size=3)


def test_lines_end_with_a_line_feed_alone() -> None:
    body = b'{"a": "\xe2\x80\xa8\r\x0b"}\n\n{"b": 2}'
    assert [*asking(body=body).lines(100)] == [b'{"a": "\xe2\x80\xa8\r\x0b"}\n', b'{"b": 2}']


def test_a_line_has_a_longest_length() -> None:
    assert [*asking(body=b"a" * 9 + b"\n").lines(10)] == [b"a" * 9 + b"\n"]
    with pytest.raises(TooLargeError):
        [*asking(body=b"a" * 11).lines(10)]


def test_a_form_repeats_its_fields() -> None:
    ask = asking(body=b"paths=a%2Fb&paths=c+d&expand=false")
    assert ask.form() == [("paths", "a/b"), ("paths", "c d"), ("expand", "false")]


def test_long_questions_are_not_remembered(catalog: Catalog) -> None:
    ask = asking()
    ask.known = Memory(catalog.database).now()
    assert [ask.recall(("token", "x" * 2000), partial(int, n)) for n in (1, 2)] == [1, 1]
    assert [ask.recall(("token", "x" * 3000), partial(int, n)) for n in (1, 2)] == [1, 2]


def test_what_is_not_remembered_is_not_asked_where_nothing_may_wait(catalog: Catalog) -> None:
    ask = asking()
    ask.known = Memory(catalog.database).now()
    ask.may_wait = False
    for question in (("token", "x"), ("token", "x" * 3000)):
        with pytest.raises(NeedsThread):
            ask.recall(question, lambda: 1)
    ask.known.ask(("token", "x"), lambda: 2)
    assert ask.recall(("token", "x"), lambda: 1) == 2
