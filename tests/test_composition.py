from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.composition import (
    MAX_DEPTH,
    Batch,
    Composition,
    Fuse,
    Mix,
    Parallel,
    Stack,
    depth,
    inside,
    leaves,
)
from registry.errors import ArgumentError, CompositionError
from registry.refs import AdapterRef

VERBS: list[Any] = [Stack, Fuse, Mix, Parallel]


class Loaded:
    """An adapter: it has an equality that no one should ask for."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError


def nested(names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(names, min_size=2, max_size=4, unique_by=str)
    return st.tuples(st.sampled_from([Stack, Fuse, Mix]), lists).map(lambda made: made[0](*made[1]))


compositions = st.recursive(st.sampled_from("abcdefgh"), nested, max_leaves=8)


@settings(max_examples=50)
@given(compositions)
def test_leaves_are_the_adapters_from_left_to_right(composition: Any) -> None:
    printed = str(composition)
    for verb in ("stack(", "fuse(", "mix("):
        printed = printed.replace(verb, "")
    expected = printed.replace(")", "").replace(" ", "").split(",")
    assert list(leaves(composition)) == expected


@settings(max_examples=50)
@given(compositions)
def test_what_is_inside_is_counted_by_its_parentheses(composition: Any) -> None:
    text = str(composition)
    found = list(inside(composition))
    assert len(found) == text.count("(")
    assert found[:1] == ([composition] if "(" in text else [])
    deepest = level = 0
    for character in text:
        level += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, level)
    assert depth(composition) == deepest


def deep(levels: int) -> Any:
    made: Any = "a0"
    for level in range(1, levels + 1):
        made = Stack(f"a{level}", made)
    return made


@pytest.mark.parametrize("verb", [*VERBS, lambda *parts: Batch(list(parts))])
def test_eight_levels_are_the_most(verb: Any) -> None:
    assert depth(verb(deep(MAX_DEPTH - 1), "b")) == MAX_DEPTH == 8
    with pytest.raises(CompositionError, match="of 2 parts nests deeper than 8 levels"):
        verb(deep(MAX_DEPTH), "b")


@pytest.mark.parametrize(
    ("verb", "name"), [(Stack, "Stack"), (Fuse, "Fuse"), (Parallel, "Parallel")]
)
def test_most_verbs_need_two_parts(verb: Any, name: str) -> None:
    for parts in ((), ("a",)):
        with pytest.raises(CompositionError) as caught:
            verb(*parts)
        assert str(caught.value) == (
            f"{name} needs at least two adapters, found {len(parts)}; a single adapter is used as "
            "it is."
        )


def test_a_mix_and_a_batch_need_one() -> None:
    assert Mix("a").parts == ("a",)
    assert Mix("a", weights=[0.5]).weights == (0.5,)
    assert Batch(["a"]).parts == ("a",)
    with pytest.raises(CompositionError, match="Mix needs at least one adapter, found 0"):
        Mix()
    for empty in ([], {}, [None, None]):
        with pytest.raises(CompositionError, match="Batch needs at least one adapter, found none"):
            Batch(empty)


@pytest.mark.parametrize("verb", VERBS)
def test_each_part_is_given_once(verb: Any) -> None:
    with pytest.raises(CompositionError, match="a is given twice; each part once"):
        verb("a", "b", "a")
    with pytest.raises(CompositionError, match=r"stack\(a, b\) is given twice"):
        verb(Stack("a", "b"), Stack("a", "b"))
    # The same adapter may come in several branches, and in another order or with other weights.
    assert list(leaves(verb(Fuse("a", "b"), Fuse("b", "a")))) == ["a", "b", "b", "a"]
    mixes = Mix("a", "b", weights=[1, 2]), Mix("a", "b", weights=[2, 1]), Mix("a", "b")
    assert verb(*mixes).parts == mixes


def test_parts_are_compared_by_name_or_by_identity() -> None:
    one, other = Loaded(), Loaded()
    for verb in VERBS:
        assert all(x is y for x, y in zip(verb(one, other).parts, (one, other), strict=True))
        with pytest.raises(CompositionError, match="twice"):
            verb(one, other, one)
    assert Batch([one, other, None, one]).rows == (0, 1, None, 0)
    assert AdapterRef.parse("a@1") in Stack(AdapterRef.parse("a@1"), AdapterRef.parse("b")).parts
    with pytest.raises(CompositionError, match="twice"):
        Stack(AdapterRef.parse("a@1"), AdapterRef.parse("a@1"))
    assert len(Stack(AdapterRef.parse("a@1"), AdapterRef.parse("a@2")).parts) == 2


def test_compositions_are_equal_where_all_they_say_is() -> None:
    makers: list[Any] = [
        lambda: Stack("a", "b"),
        lambda: Stack("b", "a"),
        lambda: Fuse("a", "b"),
        lambda: Parallel("a", "b"),
        lambda: Mix("a", "b"),
        lambda: Mix("a", "b", weights=[0.5, 0.5]),
        lambda: Mix("a", "b", weights=[0.4, 0.6]),
        lambda: Batch(["a", "b"]),
        lambda: Batch(["a", None, "b"]),
        lambda: Batch(["a", "b", "a"]),
        lambda: Batch({"u": "a", "v": "b"}),
        lambda: Batch({"u": "a", "w": "b"}),
        lambda: Fuse("a", Stack("b", "c")),
        lambda: Fuse("a", Stack("c", "b")),
    ]
    for number, make in enumerate(makers):
        assert make() == make()
        assert hash(make()) == hash(make())
        assert all(make() != other() for at, other in enumerate(makers) if at != number)
    assert len({make() for make in makers + makers}) == len(makers)


def test_compositions_do_not_change() -> None:
    parts = ["a", "b"]
    numbers = [1.0, 2.0]
    mix = Mix(*parts, weights=numbers)
    parts.append("c")
    numbers.append(3.0)
    assert (mix.parts, mix.weights) == (("a", "b"), (1.0, 2.0))
    with pytest.raises(AttributeError):
        mix.parts = ()  # type: ignore[misc]
    rows = ["a", None]
    batch = Batch(rows)
    rows.append("b")
    assert batch.rows == (0, None)


@pytest.mark.parametrize("verb", [Fuse, Mix])
@pytest.mark.parametrize("rows", [Batch(["a", None]), Parallel("a", "c"), Batch({"u": "a"})])
def test_what_chooses_by_rows_cannot_be_added_up(verb: Any, rows: Composition) -> None:
    message = f"A {rows.verb} cannot stand in a {verb.verb}.* Put the {verb.verb} into the "
    for part in (rows, Stack("x", rows), Stack(rows, "x")):
        with pytest.raises(CompositionError, match=message + rows.verb):
            verb(part, "b")


def test_rows_are_chosen_once() -> None:
    rows = Batch(["a", None])
    for bad in (rows, Parallel("a", "c"), Stack("x", rows)):
        with pytest.raises(CompositionError, match=r"stand in a parallel.* Use one batch instead"):
            Parallel(bad, "b")
        with pytest.raises(CompositionError, match=r"stand in a batch.* Use one batch instead"):
            Batch([bad, "b"])
        with pytest.raises(CompositionError, match=r"only one may choose by rows\. Use"):
            Stack(bad, Batch(["d", None]))


def test_one_adapter_for_all_may_stand_before_or_after_one_for_each_row() -> None:
    for rows in (Batch(["a", None]), Parallel("a", "b"), Batch({"u": "a"})):
        assert Stack("language", rows).parts == ("language", rows)
        assert Stack(rows, "last").parts == (rows, "last")
        assert Stack("x", Stack("y", rows)).parts[0] == "x"


def test_all_else_goes_into_a_batch_and_into_parallel() -> None:
    for part in (Stack("a", "b"), Fuse("a", "b"), Mix("a", "b"), Fuse("a", Stack("b", "c"))):
        assert Batch([part, None, "d"]).parts == (part, "d")
        assert Parallel(part, "d").parts == (part, "d")


def test_rows_share_their_entries() -> None:
    batch = Batch(["b", None, "a", "b", Stack("a", "b"), Stack("a", "b")])
    assert batch.parts == ("b", "a", Stack("a", "b"))
    assert batch.rows == (0, None, 1, 0, 2, 2)
    assert batch.names is None
    named = Batch({"u1": "b", "u2": "a", "u3": "b"})
    assert named.parts == ("b", "a")
    assert named.names == (("u1", 0), ("u2", 1), ("u3", 0))
    assert named.rows is None


@pytest.mark.parametrize("rows", ["ab", Stack("a", "b"), 3, None, {"a", "b"}, Loaded()])
def test_a_batch_takes_a_list_or_names(rows: Any) -> None:
    with pytest.raises(CompositionError, match="Batch takes a list with an entry for each row"):
        Batch(rows)


def test_the_names_of_a_batch_are_text_and_each_has_an_adapter() -> None:
    with pytest.raises(CompositionError, match="The names in a batch are text, not 1"):
        Batch({"u": "a", 1: "b"})  # type: ignore[dict-item]
    with pytest.raises(CompositionError, match="without an adapter is chosen with None; name none"):
        Batch({"u": "a", "v": None})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "Each part has a weight: expected 2, found 1."),
        ([1.0, 2.0, 3.0], "Each part has a weight: expected 2, found 3."),
        ([], "Each part has a weight: expected 2, found 0."),
        ([1.0, float("nan")], "A weight is a finite number, not nan."),
        ([1.0, float("inf")], "A weight is a finite number, not inf."),
    ],
)
def test_weights_of_a_mix_are_finite_numbers_one_for_each(weights: Any, message: str) -> None:
    with pytest.raises(CompositionError) as caught:
        Mix("a", "b", weights=weights)
    assert message in str(caught.value)


def test_weights_are_whole_or_broken_positive_or_not() -> None:
    assert Mix("a", "b", "c", weights=(1, -0.5, 0)).weights == (1.0, -0.5, 0.0)
    assert Mix("a", "b").weights is None


class Counted(str):
    """A name that counts how often it is hashed or compared."""

    __slots__ = ()
    seen = 0

    def __hash__(self) -> int:
        Counted.seen += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Counted.seen += 1
        return super().__eq__(other)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda parts, verb=verb: verb(*parts) for verb in VERBS),
        lambda parts: Mix(*parts, weights=[1.0] * len(parts)),
        lambda parts: Batch([*parts, None, *parts]),
        lambda parts: Batch({f"user{n}": part for n, part in enumerate(parts)}),
        lambda parts: Batch([Stack(parts[0], part) for part in parts[1:]]),
    ],
)
def test_thousands_of_entries_are_each_looked_at_a_few_times(make: Any) -> None:
    counts = []
    for size in (500, 4000):
        parts = [Counted(f"a{number}") for number in range(size)]
        Counted.seen = 0
        made = make(parts)
        counts.append(Counted.seen)
        assert len(list(leaves(made))) >= size
    # Eight times as many entries, and no more than eight times the work.
    assert counts[1] <= 8.5 * counts[0] + 100


def test_text_for_people_is_the_text_form() -> None:
    a, b, c = (AdapterRef.parse(name) for name in ("team/a@2", "b", "c@best"))
    assert str(Fuse(a, Stack(b, c))) == "fuse(team/a@2, stack(b, c@best))"
    assert str(Mix(a, b, weights=[0.25, -1])) == "mix(0.25*team/a@2, -1.0*b)"
    assert str(Mix(a, b)) == "mix(team/a@2, b)"
    assert str(Batch([a, None, b, a])) == "batch(team/a@2, -, b, team/a@2)"
    assert str(Batch({"u1": a, "u2": Stack(a, b)})) == "batch(u1=team/a@2, u2=stack(team/a@2, b))"
    assert str(Parallel(a, Fuse(b, c))) == "parallel(team/a@2, fuse(b, c@best))"


@pytest.mark.parametrize("weights", [0.5, "ab", [1.0, "2"], [1.0, True], [None, 1.0]])
def test_weights_of_a_mix_are_numbers_in_a_list(weights: Any) -> None:
    with pytest.raises(ArgumentError, match=r"weights.* must be"):
        Mix("a", "b", weights=weights)
