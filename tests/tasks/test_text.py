from __future__ import annotations

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizer

from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.text import close_enough, encode_texts
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from registry.errors import DataError, TextLengthError, UnsupportedModelError
from registry.manifest import TextInfo
from tests.support.models import tiny_classifier, tokenizer

SINGLE = Rows("new.csv", {"text": ["a"]})
PAIRS = Rows("new.csv", {"text": ["a"], "text_pair": ["b"]})


def test_pairs_and_single_texts_are_told_apart() -> None:
    single = TextInfo(padding_side="right")
    pairs = TextInfo(padding_side="right", pair="longest_first")
    TEXT_CLASSIFICATION.require_form(SINGLE, single)
    TEXT_CLASSIFICATION.require_form(PAIRS, pairs)
    with pytest.raises(DataError, match=r"on pairs \(a row is a text and a text_pair\); new.csv"):
        TEXT_CLASSIFICATION.require_form(SINGLE, pairs)
    with pytest.raises(DataError, match=r"on single texts \(a row is a text\); new.csv holds pa"):
        TEXT_CLASSIFICATION.require_form(PAIRS, single)


def test_an_older_manifest_does_not_say_what_a_row_was() -> None:
    TEXT_CLASSIFICATION.require_form(SINGLE, TextInfo())
    TEXT_CLASSIFICATION.require_form(PAIRS, TextInfo())


@pytest.mark.parametrize(
    ("dtype", "off", "is_close"),
    [
        (torch.float32, 0.009, True),
        (torch.float32, 0.011, False),
        (torch.float16, 0.9, True),
        (torch.float16, 1.1, False),
    ],
)
def test_outputs_may_differ_by_the_rounding_of_their_dtype(
    dtype: torch.dtype, off: float, is_close: bool
) -> None:
    expected = torch.tensor([10.0, 1.0])
    assert close_enough(expected + torch.tensor([0.0, off]), expected, dtype) is is_close


def test_a_pair_whose_uncut_text_leaves_no_room_is_refused() -> None:
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "a": 4}
    tokenizer = BertTokenizer(vocab=vocabulary)
    info = TextInfo(pair="only_first", max_length=6)
    encoded, cut = encode_texts(tokenizer, ["a a a"], ["a a"], info)
    assert (len(encoded["input_ids"][0]), cut) == (6, 1)
    with pytest.raises(TextLengthError, match=r"The second one 'a a a' has 3 tokens, which leaves"):
        encode_texts(tokenizer, ["a"], ["a a a"], info)
    second = info.model_copy(update={"pair": "only_second"})
    with pytest.raises(TextLengthError, match=r"only the second text is cut \(only_second\)"):
        encode_texts(tokenizer, ["a a a a"], ["a"], second)


@pytest.mark.parametrize("name", ["text-classification", "feature-extraction"])
def test_a_text_without_a_token_is_refused(name: str) -> None:
    token = tokenizer()
    token.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    task = TASK_TYPES[name]
    with pytest.raises(DataError, match="The text '' has no token; expected at least one"):
        task.encode(token, task.given(["good", ""]), HeadPlan(), TextInfo())


def test_a_base_model_whose_configuration_lacks_what_its_code_reads_is_refused() -> None:
    model = tiny_classifier("t5", pad_token_id=1)  # without decoder_start_token_id
    with pytest.raises(UnsupportedModelError, match="no attribute 'decoder_start_token_id'"):
        TEXT_CLASSIFICATION.prepare(tokenizer(), model, HeadPlan(2, ("a", "b")), TextInfo())
