from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from hubkit.plots import attention_heat_map, confusion_matrix, scatter, training_curves

HISTORY = [
    {"epoch": 1.0, "loss": 0.9, "grad_norm": 1.0, "learning_rate": 1e-3},
    {"epoch": 1.0, "eval_loss": 0.8, "eval_accuracy": 0.5, "eval_f1_macro": 0.4, "eval_runtime": 9},
    {"epoch": 2.0, "loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-4},
    {"epoch": 2.0, "eval_loss": 0.6, "eval_accuracy": 0.75, "eval_f1_macro": 0.7},
    {"epoch": 2.0, "train_runtime": 3.0, "train_loss": 0.7},
]
ATTENTION = {
    "encoder.layer.0.attention": {"b": 1.0},
    "encoder.layer.0.feed_forward": {"a": 0.25, "b": 0.75},
}


@pytest.fixture(autouse=True)
def quick_training() -> None:
    """Draw pictures, as for users."""


def size(picture: bytes) -> tuple[int, int]:
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def pixels(picture: bytes) -> np.ndarray:
    shown: np.ndarray = image.imread(io.BytesIO(picture))
    return shown


def test_training_curves_are_a_wide_picture() -> None:
    assert size(training_curves(HISTORY)) == (990, 385)


@pytest.mark.parametrize("count", [1, 2])
def test_training_curves_show_what_was_logged(count: int) -> None:
    shown = [training_curves(HISTORY), training_curves(HISTORY[: 2 * count])]
    changed = [dict(entry) for entry in HISTORY]
    changed[count]["loss" if count == 2 else "eval_accuracy"] = 0.1
    assert not np.array_equal(pixels(shown[0]), pixels(training_curves(changed)))
    assert np.array_equal(pixels(shown[0]), pixels(shown[1])) is (count == 2)


def test_times_are_no_scores() -> None:
    timed = [{**entry, "eval_samples_per_second": 0.3} for entry in HISTORY]
    assert np.array_equal(pixels(training_curves(HISTORY)), pixels(training_curves(timed)))


def test_an_empty_history_gives_an_empty_picture() -> None:
    assert size(training_curves([])) == (990, 385)


def test_a_heat_map_grows_with_its_rows_and_columns() -> None:
    assert size(attention_heat_map(ATTENTION, "both")) == (
        round(110 * (2.5 + 1.3 * 2)),
        round(110 * (1.6 + 0.4 * 2)),
    )
    three = {site: {**row, "c": 0.0} for site, row in ATTENTION.items()}
    assert size(attention_heat_map(three, "three"))[0] == round(110 * (2.5 + 1.3 * 3))


def test_an_adapter_that_is_absent_at_a_site_is_not_shown_as_zero() -> None:
    zero = {site: {"b": row["b"], "a": row.get("a", 0.0)} for site, row in ATTENTION.items()}
    absent = attention_heat_map(ATTENTION, "title")
    assert not np.array_equal(pixels(absent), pixels(attention_heat_map(zero, "title")))


def test_no_display_is_needed() -> None:
    code = (
        "import sys; from hubkit.plots import training_curves; training_curves([])\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_confusion_matrix_grows_with_its_labels_and_shows_what_is_confused() -> None:
    right = confusion_matrix(("a", "b"), [0, 1, 1], [0, 1, 1])
    wrong = confusion_matrix(("a", "b"), [0, 1, 1], [1, 1, 1])
    assert not np.array_equal(pixels(right), pixels(wrong))
    many = confusion_matrix([f"label {n}" for n in range(30)], [0, 29], [29, 29])
    assert size(many)[0] > size(right)[0]


def test_scores_over_one_and_below_zero_are_not_cut_off() -> None:
    high = [{**entry} for entry in HISTORY]
    for number, value in ((1, 7.0), (3, -0.5)):
        high[number]["eval_accuracy"] = value
    higher = [{**entry} for entry in high]
    higher[1]["eval_accuracy"] = 9.0
    assert not np.array_equal(pixels(training_curves(high)), pixels(training_curves(higher)))


def test_a_scatter_shows_how_far_off_predictions_are() -> None:
    right, wrong = scatter([1.0, 2.0], [1.0, 2.0]), scatter([1.0, 2.0], [2.0, 1.0])
    assert size(right) == size(wrong) == (550, 550)
    assert not np.array_equal(pixels(right), pixels(wrong))
