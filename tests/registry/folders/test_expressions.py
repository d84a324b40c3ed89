from pathlib import Path

import pytest

from registry.errors import FolderError
from registry.folders.expressions import check_expression, matches

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
    assert matches(expression, MODULE, WHERE) is expected


def test_an_expression_that_takes_for_ever_is_refused() -> None:
    with pytest.raises(FolderError, match=r"adapter_config\.json: .* takes too long to match"):
        matches(r"(\w|\w\w|\.)+[!?]", MODULE, WHERE)


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(FolderError, match="rank_pattern holds '\\(', which is no regular"):
        check_expression("(", "rank_pattern", WHERE)
