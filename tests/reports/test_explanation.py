import re

import pytest
import torch

from hubkit.models.attention import TokenAttention
from hubkit.plots import token_heat_map
from hubkit.reports.explanation import explanation_page

HOSTILE = "</td><script>alert('$\\frac$')</script>"


def page(*tokens: str) -> str:
    weights = torch.tensor([[[0.25, 0.75]] * len(tokens)], dtype=torch.float64)
    found = TokenAttention(tokens, ("film", HOSTILE), (3,), weights)
    return explanation_page(found, HOSTILE)


@pytest.fixture(autouse=True)
def quick_training() -> None:
    """Draw pictures, as for users."""


def test_a_page_shows_each_weight_of_the_mean_and_of_each_layer() -> None:
    shown = page("good", "plot")
    cells = re.findall(r"<td[^>]*>([\d.]+)</td>", shown)
    assert cells == ["0.250", "0.750"] * 4
    assert "<summary>Layer 3</summary>" in shown


def test_nothing_breaks_out_of_a_page_and_nothing_is_loaded_into_it() -> None:
    shown = page(HOSTILE, '"><img src=https://example.com/x>')
    assert "<script" not in shown
    assert "<img" not in shown
    assert "default-src 'none'" in shown
    assert "&lt;script&gt;" in shown


def test_a_picture_takes_any_text_as_it_is() -> None:
    drawn = token_heat_map([HOSTILE, "好"], ["film"], [[0.5], [1.0]], HOSTILE)
    assert drawn.startswith(b"\x89PNG")
