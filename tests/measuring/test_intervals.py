"""Intervals against what is known of them, and metrics of some rows against all task types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from hubkit.measuring import intervals
from hubkit.measuring.paired import differences
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.task import TaskType
from tests.measuring.conftest import classified


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
