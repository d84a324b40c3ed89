"""Intervals against what is known of them, and metrics of some rows against all task types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from hubkit.measuring import intervals
from hubkit.measuring.answers import Answers
from hubkit.measuring.paired import differences
from hubkit.tasks.question_answering import QUESTION_ANSWERING
from hubkit.tasks.ranking import RANKING
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.task import Encoded, HeadPlan, TaskType
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.tasks.text_regression import TEXT_REGRESSION
from registry.errors import LabelError

PLAN = HeadPlan(2, ("no", "yes"), "single_label_classification")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "WHOLES", 40)


def classified(right: list[bool], plan: HeadPlan = PLAN) -> Answers:
    """Answers to rows of which every other is labelled yes, some of them right."""
    labels = ["yes" if row % 2 else "no" for row in range(len(right))]
    outputs = np.zeros((len(right), 2), dtype=np.float32)
    for row, (label, is_right) in enumerate(zip(labels, right, strict=True)):
        outputs[row, plan.labels.index(label) if is_right else 1 - plan.labels.index(label)] = 1
    rows = Rows("test.csv", {"text": [str(n) for n in range(len(right))], "label": labels})
    return Answers(TEXT_CLASSIFICATION, plan, rows, Encoded({}, range(len(right))), (outputs,))


def test_right_and_wrong_rows_have_the_interval_of_wilson() -> None:
    z, n, p = norm.ppf(0.975), 50, 0.8
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wanted = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    found = intervals.intervals(classified([row % 5 > 0 for row in range(n)]))
    assert found["accuracy"] == pytest.approx(wanted)
    assert found["f1_macro"][0] < 0.8 < found["f1_macro"][1]


def test_where_all_rows_are_right_the_interval_still_has_a_width() -> None:
    low, high = intervals.intervals(classified([True] * 20))["accuracy"]
    assert 0.8 < low < 0.9
    assert high == 1


def test_a_mean_of_other_values_has_about_the_interval_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=400)
    half = 1.96 * values.std(ddof=1) / 20
    low, high = intervals.mean_interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert intervals.mean_interval(values) == (low, high)  # by a seed


def test_one_row_has_no_interval() -> None:
    assert intervals.intervals(classified([True])) == {}
    (accuracy, *_) = differences(classified([True]), classified([False]))
    assert (accuracy.difference, accuracy.low, accuracy.p, accuracy.better) == (
        -1,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("task", TASK_TYPES.values(), ids=lambda task: task.name)
def test_metrics_that_hold_a_row_against_all_others_are_metrics(task: TaskType[Any]) -> None:
    assert task.together <= task.metrics_up.keys()


def test_rows_are_drawn_with_all_their_windows() -> None:
    rows = Rows("r", {"question": ["a", "b", "c"]})
    encoded = Encoded({"input_ids": [[0], [1], [2], [3]]}, [0, 1, 1, 2], beside={"at": [*"wxyz"]})
    outputs = (np.arange(4, dtype=np.float32),)
    drawn = Answers(QUESTION_ANSWERING, PLAN, rows, encoded, outputs).select([1, 1, 0])
    assert [*drawn.encoded.row_of] == [0, 0, 1, 1, 2]
    assert drawn.encoded.features == {"input_ids": [[1], [2], [1], [2], [0]]}
    assert drawn.encoded.beside == {"at": [*"xyxyw"]}
    assert drawn.outputs[0].tolist() == [1, 2, 1, 2, 0]
    assert drawn.rows["question"] == ["b", "b", "a"]


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


def test_what_rows_have_has_the_metric_for_its_mean() -> None:
    answers = classified([row % 3 > 0 for row in range(20)])
    assert answers.row_values()["accuracy"].mean() == answers.metrics()["accuracy"]


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
