"""What is read of rows is what the model has embeddings for."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from hubkit.tasks.language.translation import TRANSLATION
from hubkit.tasks.multiple_choice import MULTIPLE_CHOICE
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import encode
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.tasks.text_regression import TEXT_REGRESSION
from registry.errors import DataError
from registry.manifest import TextInfo
from tests.support.language import ENCODER_DECODER, language_model, words
from tests.support.models import tiny_classifier, tokenizer

PLAN = HeadPlan(2, ("no", "yes"), "single_label_classification")
MODEL = tiny_classifier()  # knows 40 tokens


@pytest.fixture
def larger() -> PreTrainedTokenizerFast:
    """A tokenizer of 26 tokens, to which 20 were added."""
    found = tokenizer()
    found.add_tokens([f"<{number}>" for number in range(20)])
    return found


def test_a_token_without_an_embedding_is_named(larger: PreTrainedTokenizerFast) -> None:
    rows = Rows("new.csv", {"text": ["the film", "a <14> film"]})
    message = (
        "new.csv: the token '<14>' has the number 40, but the base model has embeddings for 40"
    )
    with pytest.raises(DataError, match=message) as caught:
        encode(TEXT_CLASSIFICATION, larger, MODEL, rows, PLAN, TextInfo())
    assert caught.value.subject == "<14>"


def test_one_in_a_choice_of_a_row_is_found(larger: PreTrainedTokenizerFast) -> None:
    rows = Rows("new.csv", {"prompt": ["the film"], "choices": [["good", "<19>"]]})
    with pytest.raises(DataError, match="the token '<19>' has the number 45"):
        encode(MULTIPLE_CHOICE, larger, MODEL, rows, HeadPlan(1, (), None), TextInfo())


def test_texts_without_such_a_token_are_read(larger: PreTrainedTokenizerFast) -> None:
    rows = Rows("new.csv", {"text": ["the film", "a <13> film"]})
    encoded = encode(TEXT_CLASSIFICATION, larger, MODEL, rows, PLAN, TextInfo())
    assert max(encoded.features["input_ids"][1]) == 39


def test_one_that_is_to_be_written_is_found() -> None:
    token, rows = words(), Rows("new.csv", {"source": ["the film"], "target": ["a <19>"]})
    token.add_tokens([f"<{number}>" for number in range(20)])
    model = language_model("t5", ENCODER_DECODER)
    with pytest.raises(DataError, match="the token '<19>' has the number 46"):
        encode(TRANSLATION, token, model, rows, HeadPlan(), TextInfo())


def test_numbers_to_learn_are_no_tokens(larger: PreTrainedTokenizerFast) -> None:
    rows = Rows("new.csv", {"text": ["the film"], "score": [5000.0]})
    encoded = encode(TEXT_REGRESSION, larger, MODEL, rows, HeadPlan(1), TextInfo())
    assert encoded.features["labels"] == [5000.0]
