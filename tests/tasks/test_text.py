from __future__ import annotations

import pytest

from hubkit.tasks.rows import Rows
from hubkit.tasks.text import require_pairs
from registry.errors import DataError
from registry.manifest import TextInfo

SINGLE = Rows("new.csv", {"text": ["a"]})
PAIRS = Rows("new.csv", {"text": ["a"], "text_pair": ["b"]})


def test_pairs_and_single_texts_are_told_apart() -> None:
    require_pairs(SINGLE, TextInfo())
    require_pairs(PAIRS, TextInfo(pair="longest_first"))
    with pytest.raises(DataError, match=r"on pairs \(a row is a text and a text_pair\); new.csv"):
        require_pairs(SINGLE, TextInfo(pair="longest_first"))
    with pytest.raises(DataError, match=r"on single texts \(a row is a text\); new.csv holds pa"):
        require_pairs(PAIRS, TextInfo())
