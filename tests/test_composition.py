from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.composition import Composition, Fuse, Stack, leaves, parse
from registry.errors import CompositionError, InvalidNameError
from registry.refs import AdapterRef

names = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
refs = st.builds(
    AdapterRef,
    st.none() | names,
    names,
    version=st.none() | st.integers(1, 10**6),
)


def combine(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Composition]:
    lists = st.lists(parts, min_size=2, max_size=4, unique_by=str)
    return st.tuples(st.sampled_from([Stack, Fuse]), lists).map(lambda made: made[0](*made[1]))


compositions = st.recursive(refs, combine, max_leaves=8)


@settings(max_examples=50)
@given(compositions)
def test_what_is_printed_is_read_back(composition: Any) -> None:
    assert parse(str(composition)) == composition


@settings(max_examples=50)
@given(compositions, st.data())
def test_spaces_between_the_words_do_not_matter(composition: Any, data: st.DataObject) -> None:
    spaces = st.text(" \t\n", max_size=2)
    text = "".join(
        f"{data.draw(spaces)}{character}{data.draw(spaces)}" if character in "()," else character
        for character in str(composition)
    )
    assert parse(text) == composition


@settings(max_examples=50)
@given(compositions)
def test_leaves_are_the_references_from_left_to_right(composition: Any) -> None:
    printed = str(composition).replace("stack(", "").replace("fuse(", "")
    expected = printed.replace(")", "").replace(" ", "").split(",")
    assert [str(leaf) for leaf in leaves(composition)] == expected


def test_the_text_form_is_the_documented_one() -> None:
    a, b, c = (AdapterRef.parse(name) for name in ("team/a@2", "b", "c@best"))
    assert str(Fuse(a, Stack(b, c))) == "fuse(team/a@2, stack(b, c@best))"
    assert parse("a") == AdapterRef.parse("a")
    # A verb is one only before a parenthesis.
    assert parse("stack(fuse, stack)") == Stack(AdapterRef.parse("fuse"), AdapterRef.parse("stack"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Cannot read '': expected an adapter or a verb, found the end."),
        ("fuse()", "Cannot read 'fuse()': expected an adapter or a verb, found ')'."),
        ("fuse(a,)", "Cannot read 'fuse(a,)': expected an adapter or a verb, found ')'."),
        ("fuse(,a)", "Cannot read 'fuse(,a)': expected an adapter or a verb, found ','."),
        ("fuse(a, b", "Cannot read 'fuse(a, b': expected ',' or ')', found the end."),
        ("fuse(a b)", "Cannot read 'fuse(a b)': expected ',' or ')', found 'b'."),
        ("fuse(a, b))", "Cannot read 'fuse(a, b))': nothing may follow at ')'."),
        ("a, b", "Cannot read 'a, b': nothing may follow at ','."),
        ("melt(a, b)", "Unknown verb 'melt' in 'melt(a, b)'; hubkit knows stack, fuse."),
        ("fuse(a, a)", "Fuse was given a twice; each adapter once."),
        ("stack(a)", "Stack needs at least two adapters, found 1; a single adapter is used"),
        ("fuse(stack(a, b), stack(a, b))", "Fuse was given stack(a, b) twice"),
    ],
)
def test_what_cannot_be_read_is_shown_with_the_place(text: str, message: str) -> None:
    with pytest.raises(CompositionError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_a_leaf_that_is_no_reference_is_a_name_error() -> None:
    with pytest.raises(InvalidNameError):
        parse("fuse(a, b@)")


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    text = "a0"
    for level in range(1, 3000):
        text = f"stack(a{level}, {text})"
    with pytest.raises(CompositionError, match="nests deeper than 8 levels"):
        parse(text)


def test_parts_are_compared_by_name_or_by_identity() -> None:
    class Loaded:
        """Has an equality that no one should ask for."""

        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise AssertionError

    one, other = Loaded(), Loaded()
    assert Stack(one, other).parts == (one, other)
    with pytest.raises(CompositionError, match="twice"):
        Stack(one, other, one)
    # The same adapter may come in several branches.
    assert list(leaves(Fuse(Stack("a", "b"), Stack("a", "c")))) == ["a", "b", "a", "c"]


def test_a_stack_and_a_fusion_of_the_same_parts_differ() -> None:
    assert Stack("a", "b") != Fuse("a", "b")
    assert Stack("a", "b") != Stack("b", "a")
    assert Stack("a", "b") == Stack("a", "b")
    assert hash(Stack("a", "b")) == hash(Stack("a", "b"))


def test_reading_a_composition_needs_no_torch() -> None:
    code = "import hubkit.composition, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
