from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hubkit.tasks.columns import NotExpectedError
from hubkit.tasks.tokens.columns import span_list, tag_list, token_list


def test_tokens_and_tags_are_lists_or_separated_by_spaces() -> None:
    assert token_list(" EU  rejects ") == token_list(("EU", "rejects")) == ["EU", "rejects"]
    assert token_list(np.array(["EU"])) == ["EU"]
    assert tag_list("B-ORG O") == tag_list(["B-ORG", "O"]) == ["B-ORG", "O"]
    for value in (3, None, ["a", ""], ["a", 1], {"a": 1}, ["\ud800"]):
        with pytest.raises(NotExpectedError, match="a list of tokens"):
            token_list(value)
    for value in (3, None, ["O", None], ["O", ""], {"a"}):
        with pytest.raises(NotExpectedError):
            tag_list(value)


def test_lists_in_json_are_lists_and_lists_as_python_prints_them_are_refused() -> None:
    assert token_list('["EU", "rejects"]') == ["EU", "rejects"]
    assert tag_list('["B-ORG", "O"]') == ["B-ORG", "O"]
    assert tag_list("[0, 3]") == ["0", "3"]
    assert token_list("[ 1 2 ] EU [") == ["[", "1", "2", "]", "EU", "["]
    assert tag_list("[ CD ]") == ["[", "CD", "]"]
    for check in (token_list, tag_list):
        for value in ("['B-ORG', 'O']", "['B-ORG' 'O']", """["it's", 'O']"""):
            with pytest.raises(NotExpectedError, match="a list in JSON, not as Python prints it"):
                check(value)
    with pytest.raises(NotExpectedError, match="a list in JSON"):
        tag_list("[0 3]")
    with pytest.raises(NotExpectedError, match="a list of tags"):
        tag_list(b"O O")


@pytest.mark.parametrize(
    "value",
    [
        3,
        "x",
        ["a"],
        [{"start": 1}],
        [{"start": 2, "end": 2, "label": "A"}],
        [{"start": -1, "end": 2, "label": "A"}],
        [{"start": True, "end": 2, "label": "A"}],
        [{"start": 0, "end": 2, "label": ""}],
    ],
)
def test_spans_of_another_form_are_refused(value: Any) -> None:
    with pytest.raises(NotExpectedError):
        span_list(value)
