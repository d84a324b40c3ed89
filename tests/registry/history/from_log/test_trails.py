"""Entries are found under all names that a repository had."""

from itertools import count, pairwise

import pytest

from registry.errors import AlteredLogError, InvalidNameError
from registry.history.from_log.trails import Trails, subject, understood
from registry.log.entry import Entry

NUMBERS = count(1)


def move(*places: str) -> list[Entry]:
    """Return the entries of a repository that is called one thing after another."""
    return [entry("move", before, to=after) for before, after in pairwise(places)]


def entry(action: str, place: str, **details: str) -> Entry:
    is_model = place.count("/") < 2
    more = {} if is_model else {"repository": place}
    return Entry.model_validate(
        {
            "sequence": next(NUMBERS),
            "at": "2026-01-01T00:00:00+00:00",
            "actor": "ada",
            "action": action,
            "name": place if is_model else "",
            "details": details | more,
            "previous": "0" * 64,
        }
    )


def test_without_moves_each_name_is_its_own() -> None:
    assert (Trails().now("ada/x"), Trails().former("ada/x")) == ("ada/x", frozenset())


def test_each_name_leads_to_the_last_one() -> None:
    trails = Trails(move("Ada/One", "ada/two", "bob/Three"))
    for name in ("ada/one", "ada/two", "bob/three"):
        assert trails.now(name) == "bob/three"
    assert trails.former("bob/three") == {"ada/one", "ada/two"}
    assert trails.former("ada/one") == frozenset()


def test_a_name_may_come_back() -> None:
    trails = Trails(move("ada/a", "ada/b", "ada/a"))
    assert (trails.now("ada/b"), trails.now("ada/a")) == ("ada/a", "ada/a")
    assert trails.former("ada/a") == {"ada/b"}


def test_another_spelling_is_the_same_name() -> None:
    trails = Trails(move("ada/a", "Ada/A", "ada/b"))
    assert (trails.now("ada/a"), trails.former("ada/b")) == ("ada/b", {"ada/a"})


def test_an_entry_under_a_former_name_moves_what_is_called_otherwise_by_now() -> None:
    trails = Trails([*move("ada/a", "ada/b"), *move("ada/a", "ada/c")])
    assert trails.former("ada/c") == {"ada/a", "ada/b"}


def test_kinds_have_names_of_their_own() -> None:
    trails = Trails(move("datasets/ada/x", "datasets/bob/x"))
    assert trails.now("ada/x") == "ada/x"
    assert trails.now("datasets/ada/x") == "datasets/bob/x"


def test_an_entry_is_about_a_model_a_dataset_or_no_repository() -> None:
    for place, kind in (("ada/x", "model"), ("plain", "model"), ("spaces/ada/x", "space")):
        found = subject(entry("delete", place))
        assert found is not None
        assert (found[0], str(found[1])) == (kind, place.removeprefix("spaces/"))
    assert subject(entry("gc", "")) is None
    with pytest.raises(InvalidNameError):
        subject(entry("create", "datasets/ada/--"))


def test_a_move_that_does_not_say_where_to_is_altered() -> None:
    lacking = entry("move", "ada/a")
    said = r"was done to which repository \('to' is missing\)"
    with pytest.raises(AlteredLogError, match=said) as caught, understood(lacking):
        Trails([lacking])
    assert caught.value.subject == lacking.sequence
