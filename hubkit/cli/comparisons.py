"""Print a comparison: in full after it was made, in short by ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.output import one_line, print_facts, print_table

if TYPE_CHECKING:
    from hubkit.comparing.comparison import Comparison, Difference


def print_comparison(comparison: Comparison) -> None:
    """Print the verdict, what wins, and a line for each contender."""
    for sentence in comparison.sentences:
        click.echo(one_line(sentence))
    print_table(
        (
            *("contender", "weights", comparison.metric, "spread"),
            *(f"to {comparison.single}", "p", "to control", "p"),
        ),
        [
            (
                *(row.name, f"{row.weights:,}", f"{row.mean:.4f}", f"{row.spread:.4f}"),
                *_cells(row.to_single),
                *_cells(row.to_control),
            )
            for row in comparison.rows
        ],
        lesser=("spread", "weights"),
    )


def print_comparison_in_short(comparison: Comparison) -> None:
    """Print the verdict and the means."""
    seeds = len(comparison.seeds)
    print_facts(
        [
            *(("", sentence) for sentence in comparison.sentences),
            *((row.name, f"{row.mean:.4f} ± {row.spread:.4f}") for row in comparison.rows),
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
        "choice": comparison.choice,
        **comparison.model_dump(mode="json"),
    }


def _cells(difference: Difference | None) -> tuple[str, str]:
    """How much better it is, and how often chance alone gives that."""
    return ("", "") if difference is None else (f"{difference.mean:+.4f}", f"{difference.p:.3f}")
