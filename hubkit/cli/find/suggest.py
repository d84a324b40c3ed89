"""hubkit suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import data_options, json_option, limit_option, reading
from hubkit.cli.output import (
    print_facts,
    print_json,
    print_left_out,
    print_table,
    quiet,
    version_json,
)
from hubkit.training.settings import Settings
from registry.task_types import TASK_NAMES

if TYPE_CHECKING:
    from hubkit.suggesting.suggest import Suggestion, Suggestions


@click.command("suggest")
@click.option("--data", required=True, help="Labelled rows: a file, or the id of a data set.")
@click.option("--base", required=True, metavar="BASE", help="The base model: a folder or a hub id.")
@click.option(
    "--task-type",
    type=click.Choice([*TASK_NAMES]),
    default="text-classification",
    show_default=True,
    help="The kind of task: which columns the data has, and what is learned.",
)
@data_options
@click.option(
    "--sample",
    type=click.IntRange(min=2),
    default=500,
    show_default=True,
    help="About how many rows to run the adapters over, with the labels in proportion.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 20),
    default=5,
    show_default=True,
    help="The number of parts of these rows; each is predicted from the others.",
)
@click.option(
    "--most",
    type=click.IntRange(1, 100_000),
    default=300,
    show_default=True,
    help="The most adapters to run; those of the same task type and the latest come first.",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens of a row; default: that of training.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=Settings.seed,
    show_default=True,
    help="Seed of the sample and the folds.",
)
@click.option("--explain", is_flag=True, help="Say how it was measured, and what is known of each.")
@limit_option(10)
@json_option
def command(
    data: str,
    base: str,
    task_type: str,
    sample: int,
    folds: int,
    most: int,
    max_length: int | None,
    seed: int,
    explain: bool,
    limit: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank adapters by what they would add for new rows.

    Each adapter is run over a sample of the rows, and a linear map learns the labels from what the
    base model then makes of them. The gain is over the base model without an adapter.

    \b
    Example:
      hubkit suggest --data new.csv --base bert-base-uncased
      hubkit suggest --data news.conll --base xlm-roberta-base --task-type token-classification
    """
    with quiet():
        from hubkit.suggesting.suggest import probed, suggest
        from hubkit.training.data import read_rows
        from registry import open_catalog

        # Fail early: the rows are read before the model, which takes seconds.
        task = probed(task_type)
        rows = read_rows(task, data, **reading(task, options))
        found = suggest(
            open_catalog(),
            rows,
            base=base,
            task_type=task.name,
            sample_rows=sample,
            folds=folds,
            most=most,
            seed=seed,
            max_length=max_length,
        )
    if as_json:
        print_json(_document(found, limit))
        return
    print_table(
        ("adapter", found.metric, "gain", "±", "task", "task type"),
        [
            (
                str(one.version.ref),
                f"{one.score:.4f}",
                f"{one.gain:+.4f}",
                f"{one.error:.4f}",
                one.version.task or "-",
                one.version.task_type or "-",
            )
            for one in found.ranked[:limit]
        ],
        lesser=("task type", "task"),
    )
    print_left_out(found.left_out)
    if explain:
        _explain(found, limit)


def _explain(found: Suggestions, limit: int) -> None:
    print_facts(
        [
            ("measured", f"{found.metric} of a linear map, the mean over {found.folds} folds"),
            ("rows", f"{found.rows} of {found.of_rows}"),
            ("base model alone", f"{found.base_score:.4f}"),
            ("adapters run", str(len(found.ranked))),
            ("skipped", str(len(found.skipped))),
        ],
        title="How",
    )
    for one in found.ranked[:limit]:
        own = next(iter(one.version.metrics), None)
        print_facts(
            [
                ("score", f"{one.score:.4f}, {one.gain:+.4f} ± {one.error:.4f} to the base alone"),
                ("verdict", _verdict(one)),
                ("task", f"{one.version.task or '-'} ({one.version.task_type or '-'})"),
                ("method", one.version.method),
                ("labels shared", ", ".join(one.shared_labels)),
                ("own", f"{own.name} {own.value:.4f} on {own.dataset}" if own else ""),
            ],
            title=str(one.version.ref),
        )


def _verdict(one: Suggestion) -> str:
    """The meaning of a gain, given how far the folds disagree."""
    if abs(one.gain) <= 2 * one.error:
        return "not told apart from the base model alone"
    return "helps" if one.gain > 0 else "hurts"


def _document(found: Suggestions, limit: int) -> dict[str, Any]:
    return {
        "task_type": found.task_type,
        "metric": found.metric,
        "base_score": found.base_score,
        "rows": found.rows,
        "of_rows": found.of_rows,
        "folds": found.folds,
        "suggestions": [
            {
                "rank": rank,
                "score": one.score,
                "gain": one.gain,
                "error": one.error,
                "shared_labels": [*one.shared_labels],
                "adapter": version_json(one.version),
            }
            for rank, one in enumerate(found.ranked[:limit], 1)
        ],
        "more": len(found.ranked) > limit,
        "skipped": [{"ref": str(one.version.ref), "reason": one.reason} for one in found.skipped],
        "left_out": dict(found.left_out),
    }
