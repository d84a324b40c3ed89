from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from transformers import TextClassificationPipeline

from hubkit.tasks.columns import NotExpectedError, number
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.tasks.text_regression import TEXT_REGRESSION as TASK
from hubkit.tasks.text_regression import NumberPrediction
from tests.support.models import tiny_classifier, tokenizer
from tests.support.predicting import TEXTS, predict

PLAN = HeadPlan(1, (), "regression")


def test_scores_are_those_of_the_pipeline_of_transformers() -> None:
    model, token = tiny_classifier(**PLAN.config()), tokenizer()
    pipeline = TextClassificationPipeline(model=model, tokenizer=token, device="cpu")
    for text, found in zip(TEXTS, predict(TASK, model, token, PLAN, TEXTS), strict=True):
        assert isinstance(found, NumberPrediction)
        assert found.score == pytest.approx(pipeline([text])[0]["score"], abs=1e-5)


def test_metrics_are_those_of_scipy() -> None:
    draw = np.random.default_rng(0)
    outputs, truth = draw.normal(size=(30, 1)).astype(np.float32), draw.normal(size=30)
    rows = Rows("r", {"text": ["a"] * 30, "score": truth.tolist()})
    found = TASK.metrics((outputs,), Encoded({}, range(30)), rows, PLAN)
    assert found == pytest.approx(
        {
            "pearson": pearsonr(truth, outputs[:, 0])[0],
            "spearman": spearmanr(truth, outputs[:, 0])[0],
            "mae": abs(truth - outputs[:, 0]).mean(),
        }
    )


def test_scores_that_are_all_equal_have_no_correlation() -> None:
    rows = Rows("r", {"text": ["a", "b"], "score": [1.0, 2.0]})
    found = TASK.metrics((np.ones((2, 1), np.float32),), Encoded({}, range(2)), rows, PLAN)
    assert found == {"pearson": 0.0, "spearman": 0.0, "mae": 0.5}


@pytest.mark.parametrize(
    ("expected", "found", "undefined"),
    [
        ([1.0, 2.0, 3.0], [0.5, 0.25, 0.0], False),
        ([1.0, 2.0, 3.0], [3.0, 3.0, 3.0], True),
        ([1.0, 2.0, 3.0], [3.0, 3.0, np.nextafter(np.float32(3), np.float32(4))], True),
        ([2.0, 2.0, 2.0], [0.5, 0.25, 0.0], True),
        ([2.0], [0.5], True),
    ],
)
def test_correlations_of_numbers_that_are_all_equal_are_undefined(
    expected: list[float], found: list[float], undefined: bool
) -> None:
    rows = Rows("r", {"text": ["a"] * len(expected), "score": expected})
    outputs = np.array(found, np.float32)[:, None]
    told = TASK.undefined((outputs,), Encoded({}, range(len(expected))), rows, PLAN)
    assert told == ({"pearson", "spearman"} if undefined else set())


def test_a_number_with_underscores_is_text() -> None:
    with pytest.raises(NotExpectedError, match="a number"):
        number("1_5")


def test_the_picture_has_a_point_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("hubkit.plots.scatter", lambda *given: drawn.append(given) or b"picture")
    rows = Rows("r", {"text": ["a", "b"], "score": [1.0, 2.0]})
    outputs = np.array([[0.5], [3.0]], np.float32)
    picture = TASK.pictures(PLAN)["scatter.png"]((outputs,), Encoded({}, range(2)), rows)
    assert (picture, drawn) == (b"picture", [([1.0, 2.0], [0.5, 3.0])])


def test_numbers_of_training_that_diverged_have_no_error() -> None:
    rows = Rows("r", {"text": ["a", "b"], "score": [1.0, 2.0]})
    found = TASK.metrics((np.full((2, 1), np.nan, np.float32),), Encoded({}, range(2)), rows, PLAN)
    assert np.isnan(found["mae"])
