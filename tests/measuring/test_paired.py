from __future__ import annotations

import numpy as np
import pytest

from hubkit.measuring import intervals
from hubkit.measuring.answers import Answers
from hubkit.measuring.paired import differences
from hubkit.tasks.ranking import RANKING
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.tasks.text_regression import TEXT_REGRESSION
from registry.errors import LabelError
from tests.measuring.conftest import classified


def test_two_adapters_are_told_apart_by_the_exact_test_of_mcnemar() -> None:
    # 12 rows only the second has right, 2 only the first: 2 * P(X <= 2), X ~ B(14, 1/2).
    first = classified([False] * 12 + [True] * 2 + [True] * 26)
    second = classified([True] * 12 + [False] * 2 + [True] * 26)
    accuracy = differences(first, second)[0]
    assert accuracy.p == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert (accuracy.test, accuracy.better) == ("mcnemar", "second")
    assert accuracy.difference == pytest.approx(0.25)
    assert accuracy.low is not None
    assert 0 < accuracy.low < 0.25
    back = differences(second, first)[0]
    assert (back.p, back.better, back.difference) == (accuracy.p, "first", -accuracy.difference)


def test_an_adapter_is_not_better_than_itself() -> None:
    answers = classified([True, False] * 10)
    for one in differences(answers, answers):
        assert (one.difference, one.p, one.better) == (0, 1, None)


def test_an_error_is_better_when_lower() -> None:
    expected = np.linspace(0, 5, 40)
    rows = Rows("test.csv", {"text": ["x"] * 40, "score": expected.tolist()})
    noise = np.random.default_rng(0).normal(size=40)

    def scored(much: float) -> Answers:
        outputs = ((expected + much * noise).astype(np.float32)[:, None],)
        plan = HeadPlan(1, (), "regression")
        return Answers(TEXT_REGRESSION, plan, rows, Encoded({}, range(40)), outputs)

    by_name = {one.metric: one for one in differences(scored(1.0), scored(0.2))}
    assert (by_name["mae"].test, by_name["mae"].better) == ("permutation", "second")
    assert by_name["mae"].difference < 0
    assert (by_name["pearson"].test, by_name["pearson"].better) == ("bootstrap", "second")


def test_labels_in_another_order_are_compared_and_other_labels_are_refused() -> None:
    right = [row % 3 > 0 for row in range(20)]
    turned = HeadPlan(2, ("yes", "no"), "single_label_classification")
    assert differences(classified(right), classified(right, turned))[0].difference == 0
    more = HeadPlan(3, ("no", "yes", "maybe"), "single_label_classification")
    with pytest.raises(LabelError, match="'maybe'"):
        differences(classified(right), classified(right, more))


def test_queries_that_take_no_part_in_a_mean_are_left_out_and_nothing_is_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ranked(first: float) -> Answers:
        grades = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
        numbers = [first, 0.5, 1.0, 0.5, 0.0, 0.5, 1.0, 0.0]
        names = [f"q{row}" for row in range(len(grades))]
        rows = Rows("r", {"query": names, "candidates": [["a", "b"]] * 4, "relevance": grades})
        encoded = Encoded({"input_ids": [[1]] * 8}, [row for row in range(4) for _ in "ab"])
        outputs = np.array(numbers, dtype=np.float32)[:, None]
        return Answers(RANKING, HeadPlan(1, (), "regression"), rows, encoded, (outputs,))

    monkeypatch.setattr(intervals, "resamples", None)
    one, other = ranked(1.0), ranked(0.0)
    assert one.metrics()["auc"] == pytest.approx(2 / 3)
    assert intervals.intervals(one)["auc"] == intervals.mean_interval(np.array([1.0, 1.0, 0.0]))
    found = {each.metric: each for each in differences(one, other)}["auc"]
    assert (found.difference, found.test) == (pytest.approx(-1 / 3), "mcnemar")
