from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score
from transformers import TextClassificationPipeline

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION as TASK
from hubkit.tasks.text_classification import LabelPrediction, LabelsPrediction
from registry.errors import ArgumentError, DataError, HubkitError, UnsupportedModelError
from tests.support.models import tiny_classifier, tokenizer
from tests.support.predicting import TEXTS, predict

ONE = HeadPlan(3, ("bad", "fine", "good"), "single_label_classification")
SEVERAL = HeadPlan(3, ("bad", "fine", "good"), "multi_label_classification")
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))


def model_of(plan: HeadPlan, architecture: str = "bert") -> Any:
    return tiny_classifier(architecture, **plan.config())


@pytest.mark.parametrize("plan", [ONE, SEVERAL])
@pytest.mark.parametrize("items", [list(TEXTS), PAIRS])
def test_scores_are_those_of_the_pipeline_of_transformers(plan: HeadPlan, items: Any) -> None:
    model, token = model_of(plan), tokenizer()
    pipeline = TextClassificationPipeline(model=model, tokenizer=token, top_k=None, device="cpu")
    for item, found in zip(items, predict(TASK, model, token, plan, items), strict=True):
        given = item if isinstance(item, str) else {"text": item[0], "text_pair": item[1]}
        answers = pipeline([given])[0]
        expected = {answer["label"]: answer["score"] for answer in answers}
        assert isinstance(found, LabelPrediction | LabelsPrediction)
        assert found.scores == pytest.approx(expected, abs=1e-5)
        if isinstance(found, LabelPrediction):
            assert found.label == answers[0]["label"]
        else:
            assert set(found.labels) == {name for name, score in expected.items() if score >= 0.5}


def test_metrics_of_one_label_are_those_of_scikit_learn() -> None:
    outputs = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    ids = np.random.default_rng(1).integers(0, 3, 40)
    rows = Rows("r", {"text": ["a"] * 40, "label": [ONE.labels[i] for i in ids]})
    found = TASK.metrics((outputs,), Encoded({}, range(40)), rows, ONE)
    guessed = outputs.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(ids, guessed))
    assert found["f1_macro"] == pytest.approx(f1_score(ids, guessed, average="macro"))
    # Matthews of several classes is the correlation of the indicators, so for two it is Pearson's.
    two = HeadPlan(2, ("bad", "good"), "single_label_classification")
    rows = Rows("r", {"text": ["a"] * 40, "label": [two.labels[i % 2] for i in ids]})
    found = TASK.metrics((outputs[:, :2],), Encoded({}, range(40)), rows, two)
    expected = pearsonr(ids % 2, outputs[:, :2].argmax(1))[0]
    assert found["matthews"] == pytest.approx(expected)


def test_metrics_of_several_labels_are_those_of_scikit_learn() -> None:
    outputs = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    truth = np.random.default_rng(1).integers(0, 2, (40, 3))
    labels = [[n for n, on in zip(SEVERAL.labels, row, strict=True) if on] for row in truth]
    rows = Rows("r", {"text": ["a"] * 40, "labels": labels})
    found = TASK.metrics((outputs,), Encoded({}, range(40)), rows, SEVERAL)
    for how in ("micro", "macro"):
        assert found[f"f1_{how}"] == pytest.approx(f1_score(truth, outputs >= 0, average=how))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "gpt2", "llama"])
@pytest.mark.parametrize("pad", [True, False])
def test_a_batch_says_what_each_text_says_alone(architecture: str, pad: bool) -> None:
    model, token = model_of(ONE, architecture), tokenizer()
    if not pad:
        token.pad_token = None
    together = predict(TASK, model, token, ONE, TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        (alone,) = predict(TASK, model, token, ONE, [text])
        assert isinstance(alone, LabelPrediction)
        assert isinstance(found, LabelPrediction)
        assert found.scores == pytest.approx(alone.scores, abs=1e-5)


def test_a_tokenizer_that_ends_no_text_as_t5_expects_is_refused() -> None:
    model = tiny_classifier("t5", decoder_start_token_id=0, **ONE.config())
    with pytest.raises(UnsupportedModelError, match="cannot be used for text-classification"):
        predict(TASK, model, tokenizer(), ONE, TEXTS)


@pytest.mark.parametrize(
    "items",
    [
        list(TEXTS),
        tuple(TEXTS),
        (text for text in TEXTS),
        np.array(TEXTS),
        pd.Series(TEXTS, index=[3, 0, 4, 1, 2]),
    ],
    ids=lambda items: type(items).__name__,
)
def test_anything_to_go_through_gives_its_texts_in_order(items: Any) -> None:
    assert list(TASK.given(items)["text"]) == list(TEXTS)


@pytest.mark.parametrize("top_k", [1, 2, 9])
def test_top_k_gives_the_most_probable_labels_the_best_first(top_k: int) -> None:
    model, token = model_of(ONE), tokenizer()
    pipeline = TextClassificationPipeline(model=model, tokenizer=token, top_k=top_k, device="cpu")
    found = predict(TASK, model, token, ONE, TEXTS, top_k=top_k)
    for text, one in zip(TEXTS, found, strict=True):
        answers = pipeline([text])[0]
        assert isinstance(one, LabelPrediction)
        assert list(one.scores) == [answer["label"] for answer in answers]
        assert list(one.scores.values()) == pytest.approx([a["score"] for a in answers], abs=1e-5)
        assert one.cells()[0] == ", ".join(one.scores)


def test_a_threshold_says_from_where_on_a_label_holds() -> None:
    model, token = model_of(SEVERAL), tokenizer()
    scores = [one.scores for one in predict(TASK, model, token, SEVERAL, TEXTS)]  # type: ignore[attr-defined]
    assert {score >= 0.5 for row in scores for score in row.values()} == {True, False}
    for threshold in (0, 0.3, 0.7):
        found = predict(TASK, model, token, SEVERAL, TEXTS, threshold=threshold)
        for one, row in zip(found, scores, strict=True):
            assert isinstance(one, LabelsPrediction)
            assert one.labels == tuple(n for n, score in row.items() if score >= threshold)
    (two,) = predict(TASK, model, token, SEVERAL, TEXTS[:1], threshold=0, top_k=2)
    assert isinstance(two, LabelsPrediction)
    assert list(two.labels) == sorted(scores[0], key=lambda name: -scores[0][name])[:2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"top_k": 0}, DataError),
        ({"top_k": True}, ArgumentError),
        ({"top_k": "2"}, ArgumentError),
        ({"threshold": 1.5}, DataError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[HubkitError]
) -> None:
    with pytest.raises(error, match=f"{min(options)} must be"):
        TASK.options_of(options)


def test_a_threshold_is_refused_where_one_label_holds() -> None:
    options = TASK.options_of({"threshold": 0.3})
    TASK.check_options(options, SEVERAL)
    with pytest.raises(DataError, match="one label to each row"):
        TASK.check_options(options, ONE)
