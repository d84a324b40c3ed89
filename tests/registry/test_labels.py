import pytest

from registry.labels import as_seen, same_label


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("\u2764", "\u2764\ufe0f"),
        ("good", "go\u200dod"),
        ("good", "good\u200b"),
        ("good", "\ufeffgood"),
        ("good", "good\u00a0"),
    ],
)
def test_labels_that_look_the_same_are_named_as_they_are_written(one: str, other: str) -> None:
    assert same_label(["bad", one, other]) == f"{one!a} and {other!a}, which look the same"


def test_whole_numbers_are_compared_as_numbers() -> None:
    assert same_label(["1", "2", "01"]) == "'1' and '01', which are the same number"


def test_labels_that_look_different_are_two() -> None:
    assert same_label(["good", "Good", "go od", "go  od", "gut", "1", "1.0"]) == ""


@pytest.mark.parametrize("text", ["", "\u200b", "\ufe0f", " \u00a0"])
def test_a_text_of_which_nothing_is_seen_is_empty(text: str) -> None:
    assert as_seen(text) == ""
