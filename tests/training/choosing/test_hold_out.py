"""Rows that are held out to choose the best epoch by."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.data import LabelledText
from registry.errors import RareLabelError, TooFewRowsError

labelled = st.lists(st.sampled_from("abc"), min_size=2, max_size=60).filter(
    lambda labels: min(Counter(labels).values()) >= 2
)


@settings(max_examples=60)
@given(labelled, st.integers(0, 2**31))
def test_the_two_parts_are_disjoint_complete_stratified_and_the_same_every_time(
    labels: list[str], seed: int
) -> None:
    data = LabelledText("d", [f"text {i}" for i in range(len(labels))], labels)
    train, held_out = hold_out(data, data.labels, seed)
    texts = [*train["text"], *held_out["text"]]
    assert sorted(texts) == sorted(data.texts)
    of = dict(zip(data.texts, data.labels, strict=True))
    for part in (train, held_out):
        assert [of[text] for text in part["text"]] == part["label"]
    assert set(train["label"]) == set(labels)
    classes = len(set(labels))
    assert len(held_out) == max(classes, len(labels) // 5)
    for label, rows in Counter(labels).items():
        expected = rows * len(held_out) / len(labels)
        assert abs(Counter(held_out["label"])[label] - expected) <= 1
    assert hold_out(data, data.labels, seed) == (train, held_out)


def test_seeds_split_differently() -> None:
    data = LabelledText("d", [f"text {i}" for i in range(40)], ["a", "b"] * 20)
    assert hold_out(data, data.labels, 1)[1]["text"] != hold_out(data, data.labels, 2)[1]["text"]


def test_at_most_five_hundred_rows_are_held_out() -> None:
    data = LabelledText("d", [f"text {i}" for i in range(4000)], ["a", "b"] * 2000)
    train, held_out = hold_out(data, data.labels, 0)
    assert (len(train), len(held_out)) == (3500, 500)
    assert Counter(held_out["label"]) == {"a": 250, "b": 250}


def test_a_label_with_a_single_row_cannot_be_split() -> None:
    data = LabelledText("d", list("abcde"), ["x", "x", "x", "x", "rare"])
    with pytest.raises(RareLabelError, match="a single row with the label 'rare'"):
        hold_out(data, data.labels, 0)


@pytest.mark.parametrize(("rows", "fraction"), [(1, None), (4, 0.9)])
def test_too_few_rows_to_hold_some_out_are_told(rows: int, fraction: float | None) -> None:
    data = LabelledText("d", [f"t{row}" for row in range(rows)], ["x", "y"] * 2)
    strata = None if rows == 1 else data.labels
    with pytest.raises(TooFewRowsError, match=r"^d has (a single row|4 rows)"):
        hold_out(data.select(range(rows)), strata, 0, fraction)
