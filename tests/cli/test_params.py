from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from hubkit.cli.params import LAYERS, Number


@pytest.mark.parametrize(
    ("kind", "shown"),
    [(Number(), ""), (Number(min=0), "[x>=0]"), (Number(0, 1, max_open=True), "[0<=x<1]")],
)
def test_help_shows_a_range_where_there_is_one(kind: Number, shown: str) -> None:
    @click.command()
    @click.option("--alpha", type=kind, help="Of LoRA.")
    def command(alpha: float | None) -> None:
        """Nothing."""

    told = CliRunner().invoke(command, ["--help"]).stdout
    assert f"Of LoRA.  {shown}".rstrip() in told
    assert "None" not in told


@pytest.mark.parametrize(
    ("written", "layers"),
    [("0-3,7", (0, 1, 2, 3, 7)), ("2", (2,)), ("1, 0-1", (0, 1)), (["0", "4-5"], (0, 4, 5))],
)
def test_layers_are_numbers_and_ranges(written: object, layers: tuple[int, ...]) -> None:
    assert LAYERS.convert(written, None, None) == layers


@pytest.mark.parametrize("written", ["", "3-1", "-1", "0..3", "a", "0,,1"])
def test_other_layers_are_a_usage_error(written: str) -> None:
    with pytest.raises(click.BadParameter, match=r"expected numbers and ranges, such as 0-3,7\."):
        LAYERS.convert(written, None, None)
