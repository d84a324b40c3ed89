from pathlib import Path

import pytest

from registry.errors import FolderError
from registry.folders.expressions import Expressions

WHERE = Path("mine") / "adapter_config.json"
MODULE = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r".*\.(query|value)", True),
        (r"query", False),
        (r"(?!.*visual).*query", True),
        (r"(.*)*x(.*)*query", False),  # for which Python's own takes minutes
    ],
)
def test_an_expression_is_for_a_whole_path(expression: str, expected: bool) -> None:
    assert Expressions(WHERE).matches(expression, MODULE) is expected


def test_an_expression_that_takes_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.folders.expressions.MOST_SECONDS", 0.3)
    with pytest.raises(FolderError, match=r"adapter_config\.json: .* takes too long to match"):
        Expressions(WHERE).matches(r"(\w|\w\w|\.)+[!?]", MODULE * 4)


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(FolderError, match="rank_pattern holds '\\(', which is no regular"):
        Expressions(WHERE).check("(", "rank_pattern")


def test_an_expression_that_is_too_long_is_refused() -> None:
    with pytest.raises(FolderError, match="it has 10001 characters, more than 10000"):
        Expressions(WHERE).check("a" * 10_001, "target_modules")


def test_many_matches_that_each_take_a_while_are_refused_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.folders.expressions.MOST_SECONDS", 0.2)
    slow = Expressions(WHERE)
    assert not slow.matches(r"(\w|\w\w)+[!?]", "x" * 5)
    with pytest.raises(FolderError, match="takes too long"):
        any(slow.matches(r"(\w|\w\w)+[!?]", "x" * length) for length in range(5, 40))
