"""Print a comparison: in full after it was made, in short by ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.output import one_line, print_facts, print_table

if TYPE_CHECKING:
    from hubkit.comparing.comparison import Comparison, Row


def print_comparison(comparison: Comparison) -> None:
    """Print the verdict, what wins, and a line for each contender."""
    for sentence in comparison.sentences:
        click.echo(one_line(sentence))
    print_table(comparison.columns, comparison.cells, lesser=("spread", "weights"))


def print_comparison_in_short(comparison: Comparison) -> None:
    """Print the verdict and the means."""
    seeds = len(comparison.seeds)
    print_facts(
        [
            *(("", sentence) for sentence in comparison.sentences),
            *((row.name, _mean(row)) for row in comparison.rows),
            (
                "measured",
                f"{comparison.metric} on {comparison.data}, {comparison.folds} folds, "
                f"{seeds} {'seed' if seeds == 1 else 'seeds'}",
            ),
        ],
        title="Comparison",
    )


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as a JSON document, with what it says."""
    return {
        "outcome": comparison.outcome,
        "verdict": comparison.verdict,
        "too_few": comparison.too_few,
        "left_out": comparison.left_out,
        "choice": comparison.choice,
        **comparison.model_dump(mode="json"),
    }


def _mean(row: Row) -> str:
    """The mean of its scores, and their spread."""
    return f"{row.mean_text} ± {row.spread_text}" if row.spread_text else row.mean_text
