from __future__ import annotations

import pytest
import torch

from hubkit.tasks.rows import Rows
from hubkit.tasks.text import close_enough
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from registry.errors import DataError
from registry.manifest import TextInfo

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
