from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.tokens.columns import span_list
from hubkit.tasks.tokens.token_classification import TOKEN_CLASSIFICATION as TASK
from registry.errors import LabelError
from registry.manifest import TextInfo
from tests.support.models import tokenizer
from tests.tasks.tokens.conftest import facts, span


@pytest.mark.parametrize("end", ["E", "L"])
def test_tags_that_end_entities_are_understood(end: str) -> None:
    single = {"E": "S", "L": "U"}[end]
    plan = HeadPlan(5, (f"{single}-X", "B-X", "I-X", f"{end}-X", "O"))
    tags = ["B-X", "I-X", f"{end}-X", f"{single}-X", "O", f"{single}-X"]
    rows = Rows("r", {"tokens": [["a"] * 6], "tags": [tags]})
    encoded = TASK.encode(tokenizer(), rows, plan, TextInfo())
    logits = np.eye(5, dtype=np.float32)[[[4, *map(plan.labels.index, tags), 4]]]
    assert set(TASK.metrics((logits,), encoded, rows, plan).values()) == {1.0}
    (found,) = TASK.predictions((logits,), encoded, rows, plan, TASK.options())
    assert facts(found) == [("X", 0, 5), ("X", 6, 7), ("X", 10, 11)]


def test_the_words_of_a_span_learn_it(caplog: pytest.LogCaptureFixture) -> None:
    text = "the badabe ball was good-bad."
    spans = span_list(f"[{json.dumps(span(20, 28, 'LOC'))}, {json.dumps(span(4, 15, 'PER'))}]")
    rows = Rows("r", {"text": [text], "spans": [spans]})
    plan = TASK.fit_plan(rows)
    assert plan.labels == ("O", "B-LOC", "B-PER", "I-LOC", "I-PER")
    token = tokenizer()
    encoded = TASK.encode(token, rows, plan, TextInfo())
    (labels,) = encoded.features["labels"]
    pieces = token.convert_ids_to_tokens(encoded.features["input_ids"][0])
    learned = [plan.labels[one] if one != -100 else None for one in labels]
    assert list(zip(pieces, learned, strict=True)) == [
        ("[CLS]", None),
        ("the", "O"),
        *zip(["bad", "##a", "##b", "##e"], ["B-PER", None, None, None], strict=True),
        ("ball", "I-PER"),
        ("was", "O"),
        *zip(["good", "[UNK]", "bad"], ["B-LOC", "I-LOC", "I-LOC"], strict=True),
        ("[UNK]", "O"),
        ("[SEP]", None),
    ]
    outputs = np.eye(5, dtype=np.float32)[[[max(one, 0) for one in labels]]] * 20
    (found,) = TASK.predictions((outputs,), encoded, rows, plan, TASK.options())
    assert facts(found) == [("PER", 4, 15), ("LOC", 20, 28)]
    assert TASK.metrics((outputs,), encoded, rows, plan)["f1"] == 1.0
    assert caplog.text == ""


def test_spans_whose_labels_are_tags_already_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows("r", {"text": ["Ada wrote"], "spans": [[span(0, 3, "B-PER")]]})
    assert TASK.fit_plan(rows).labels == ("O", "B-B-PER", "I-B-PER")
    assert "r: spans have the label B-PER, which looks like a tag" in caplog.text


def test_spans_inside_of_words_are_counted_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    spans = [span(0, 3), span(4, 9)]
    rows = Rows("r", {"text": ["badabe ball"], "spans": [spans]})
    encoded = TASK.encode(tokenizer(), rows, TASK.fit_plan(rows), TextInfo())
    assert "r: 2 spans begin or end inside of a word" in caplog.text
    assert encoded.features["labels"][0][1] != -100


def test_entities_that_begin_with_an_i_are_counted_and_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tags = [["O", "I-PER", "I-PER", "B-LOC", "I-PER"], ["I-LOC", "B-LOC", "I-LOC"]]
    rows = Rows("r", {"tokens": [["a"] * 5, ["a"] * 3], "tags": tags})
    with caplog.at_level(logging.WARNING):
        TASK.fit_plan(rows)
    assert "r: 3 entities begin with an I tag" in caplog.text


def test_tags_that_look_like_mistakes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows("rows", {"tokens": [["a", "b", "c"]], "tags": [["NOUN", "Noun", "nan"]]})
    TASK.fit_plan(rows)
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith("are classes of their own: 'NOUN', 'Noun'.")
    assert second.startswith("rows: the label 'nan'")
    assert second.endswith("occurs 1 times.")
    twins = Rows("rows", {"tokens": [["a", "b"]], "tags": [["caf\u00e9", "cafe\u0301"]]})
    with pytest.raises(LabelError, match="which look the same"):
        TASK.fit_plan(twins)
