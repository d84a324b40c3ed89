from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.composition import Batch, Composition, Fuse, Mix, Parallel, Stack, leaves
from hubkit.notation import parse
from registry.errors import CompositionError, InvalidNameError
from registry.refs import AdapterRef

names = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
refs = st.builds(
    AdapterRef,
    st.none() | names,
    names,
    version=st.none() | st.integers(1, 10**6),
)
weights = st.floats(allow_nan=False, allow_infinity=False)
labels = st.sampled_from(["u1", "u2", "-", "a.b", "@me", "é", "0", "stack", "x/y", "1e3"])


@st.composite
def combined(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> Composition:
    some = draw(st.lists(parts, min_size=2, max_size=4, unique_by=str))
    verb = draw(st.sampled_from([Stack, Fuse, Mix]))
    if verb is Mix and draw(st.booleans()):
        count = len(some)
        return Mix(*some, weights=draw(st.lists(weights, min_size=count, max_size=count)))
    return verb(*some)


plain = st.recursive(refs, combined, max_leaves=8)


@st.composite
def by_rows(draw: st.DrawFn) -> Composition:
    kind = draw(st.sampled_from(["rows", "names", "parallel"]))
    some = draw(st.lists(plain, min_size=2, max_size=4, unique_by=str))
    if kind == "parallel":
        made: Composition = Parallel(*some)
    elif kind == "names":
        chosen = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
        made = Batch({label: draw(st.sampled_from(some)) for label in chosen})
    else:
        rows = draw(st.lists(st.none() | st.sampled_from(some), max_size=5))
        made = Batch([*rows, some[0]])
    if draw(st.booleans()):
        return Stack(draw(refs), made)
    return made


compositions = plain | by_rows()


@settings(max_examples=60)
@given(compositions)
def test_what_is_printed_is_read_back(composition: Any) -> None:
    read = parse(str(composition))
    assert read == composition
    assert str(read) == str(composition)
    assert hash(read) == hash(composition)


@settings(max_examples=50)
@given(compositions, st.data())
def test_spaces_between_the_words_do_not_matter(composition: Any, data: st.DataObject) -> None:
    spaces = st.text(" \t\n", max_size=2)
    text = "".join(
        f"{data.draw(spaces)}{character}{data.draw(spaces)}" if character in "(),*=" else character
        for character in str(composition)
    )
    assert parse(f" {text}\n") == composition


def test_the_text_form_is_the_documented_one() -> None:
    a, b, c = (AdapterRef.parse(name) for name in ("team/a@2", "b", "c@best"))
    assert parse("fuse(team/a@2, stack(b, c@best))") == Fuse(a, Stack(b, c))
    assert parse("a") == AdapterRef.parse("a")
    assert parse("mix(0.3*team/a@2, 0.7*b)") == Mix(a, b, weights=[0.3, 0.7])
    assert parse("mix(1*b, -2e-1*c@best)") == Mix(b, c, weights=[1.0, -0.2])
    assert parse("mix(b)") == Mix(b)
    assert parse("batch(b, -, team/a@2, b)") == Batch([b, None, a, b])
    assert parse("batch(u1=b, u2=stack(b, c@best))") == Batch({"u1": b, "u2": Stack(b, c)})
    assert parse("parallel(b, c@best)") == Parallel(b, c)
    assert parse("stack(b, batch(c@best, -))") == Stack(b, Batch([c, None]))
    # A verb is one only before a parenthesis.
    assert parse("stack(fuse, stack)") == Stack(AdapterRef.parse("fuse"), AdapterRef.parse("stack"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Cannot read '': expected an adapter or a verb, found the end."),
        ("fuse()", "Cannot read 'fuse()': expected an adapter or a verb, found ')'."),
        ("fuse(a,)", "Cannot read 'fuse(a,)': expected an adapter or a verb, found ')'."),
        ("fuse(,a)", "Cannot read 'fuse(,a)': expected an adapter or a verb, found ','."),
        ("fuse(", "Cannot read 'fuse(': expected an adapter or a verb, found the end."),
        ("fuse(a, b", "Cannot read 'fuse(a, b': expected ',' or ')', found the end."),
        ("fuse(a b)", "Cannot read 'fuse(a b)': expected ',' or ')', found 'b'."),
        ("fuse(a, b))", "Cannot read 'fuse(a, b))': nothing may follow at ')'."),
        ("a, b", "Cannot read 'a, b': nothing may follow at ','."),
        ("(a, b)", "Cannot read '(a, b)': expected an adapter or a verb, found '('."),
        ("melt(a, b)", "Unknown verb 'melt' in 'melt(a, b)'; hubkit knows stack, fuse, mix, bat"),
        ("stak(a, b)", "stack"),
        ("Fuse(a, b)", "Unknown verb 'Fuse'"),
        ("fuse(a, a)", "a is given twice; each part once."),
        ("stack(a)", "Stack needs at least two adapters, found 1; a single adapter is used"),
        ("parallel(a)", "Parallel needs at least two adapters, found 1"),
        ("fuse(stack(a, b), stack(a, b))", "stack(a, b) is given twice"),
        ("fuse(2*a, b)", "expected ',' or ')', found '*'."),
        ("stack(u=a, b)", "expected ',' or ')', found '='."),
        ("mix(u=a, b)", "expected ',' or ')', found '='."),
        ("batch(2*a, b)", "expected ',' or ')', found '*'."),
        ("mix()", "Cannot read 'mix()': expected an adapter or a verb, found ')'."),
        ("mix(half*a, b)", "in a mix, either all parts have one before them or none"),
        ("mix(half*a)", "Cannot read 'mix(half*a)': expected a number before '*', found 'half'."),
        ("mix(0.5*a, b)", "in a mix, either all parts have one before them or none"),
        ("mix(0.5*0.5*a)", "expected ',' or ')', found '*'."),
        ("mix(*a)", "expected an adapter or a verb, found '*'."),
        ("mix(0.5*)", "expected an adapter or a verb, found ')'."),
        ("mix(inf*a)", "A weight is a finite number, not inf."),
        ("mix(nan*a)", "A weight is a finite number, not nan."),
        ("mix(1*a, 2*a)", "a is given twice; each part once."),
        ("batch()", "expected an adapter or a verb, found ')'."),
        ("batch(-)", "Batch needs at least one adapter, found none."),
        ("batch(u=a, b)", "in a batch, either all parts have one before them or none"),
        ("batch(u=a, -)", "in a batch, either all parts have one before them or none"),
        ("batch(u=a, u=b)", "Cannot read 'batch(u=a, u=b)': a name stands twice."),
        ("batch(=a)", "expected an adapter or a verb, found '='."),
        ("batch(u=)", "expected an adapter or a verb, found ')'."),
        ("batch(a, batch(b, -))", "A batch cannot stand in a batch"),
        ("fuse(a, batch(b, -))", "Put the fuse into the batch instead."),
        ("stack(batch(a, -), parallel(b, c))", "only one may choose by rows."),
    ],
)
def test_what_cannot_be_read_is_shown_with_the_place(text: str, message: str) -> None:
    with pytest.raises(CompositionError) as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["fuse(a, b@)", "batch(u=-)", "fuse(a, -)", "mix(1*-)", "-", "a@@1"]
)
def test_a_leaf_that_is_no_reference_is_a_name_error(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse(text)


@pytest.mark.parametrize("name", ["", " ", "a b", "a,b", "(", "x)", "a=b", "2*a", "\n", "a\tb"])
def test_a_name_in_a_batch_that_could_not_be_read_back_is_refused(name: str) -> None:
    a = AdapterRef.parse("a")
    with pytest.raises(CompositionError, match="name"):
        Batch({name: a})


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    text = "a0"
    for level in range(1, 3000):
        text = f"stack(a{level}, {text})"
    with pytest.raises(CompositionError, match="nests deeper than 8 levels"):
        parse(text)


def test_eight_levels_can_be_read() -> None:
    text = "a0"
    for level in range(1, 9):
        text = f"stack(a{level}, {text})"
    assert str(parse(text)) == text
    with pytest.raises(CompositionError, match="nests deeper than 8 levels"):
        parse(f"stack(a9, {text})")


def test_thousands_of_users_are_read() -> None:
    text = f"batch({', '.join(f'user{n}=adapter{n % 100}' for n in range(5000))})"
    read = parse(text)
    assert isinstance(read, Batch)
    assert read.names is not None
    assert len(read.names) == 5000
    assert len(read.parts) == len(list(leaves(read))) == 100
    assert str(read) == text
