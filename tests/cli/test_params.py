from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from hubkit.cli.params import Number


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
