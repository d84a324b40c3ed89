"""hubkit leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hubkit.bases.names import normalize
from hubkit.cli.options import json_option, limit_option
from hubkit.cli.output import base_column, print_json, print_table, version_json

if TYPE_CHECKING:
    from registry import Measurement


@click.command("leaderboard")
@click.option("--dataset", required=True, help="The data that the adapters were measured on.")
@click.option("--task", help="Their task, such as sentiment.")
@click.option("--base", help="Base model: hub id or folder, name, family or fingerprint.")
@click.option("--metric", help="Name of the metric; default: the first in the alphabet.")
@click.option("--split", help="Part of the data set; default: all.")
@limit_option(20)
@json_option
def command(
    dataset: str,
    task: str | None,
    base: str | None,
    metric: str | None,
    split: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Rank adapters by a metric on one data set, the best first.

    Of each adapter, the newest version that is not yanked counts: what was recorded of it with
    `evaluate --record`, else what training measured.

    \b
    Example:
      hubkit leaderboard --task sentiment --base bert-base-uncased --dataset imdb
    """
    from registry import open_catalog
    from registry.search.leaderboard import leaderboard

    ranks = leaderboard(
        open_catalog(),
        dataset,
        metric=metric,
        split=split,
        task=task,
        base=None if base is None else normalize(base),
        limit=limit,
    )
    if as_json:
        print_json(
            [
                {
                    "rank": number,
                    **rank.metric.model_dump(),
                    "measurement": rank.measurement and rank.measurement.model_dump(mode="json"),
                    "adapter": version_json(rank.version),
                }
                for number, rank in enumerate(ranks, 1)
            ]
        )
        return
    if not ranks:
        click.echo(f"Nothing that matches was measured on {dataset}.", err=True)
        return
    name = ranks[0].metric.name
    print_table(
        ("rank", "adapter", name, "split", "method", "base model", "95 %"),
        [
            (
                str(number),
                str(rank.version.ref),
                f"{rank.metric.value:.4f}",
                rank.metric.split,
                rank.version.method,
                base_column(rank.version.base_model),
                _interval(rank.measurement),
            )
            for number, rank in enumerate(ranks, 1)
        ],
        lesser=("95 %", "split", "method", "base model"),
    )


def _interval(one: Measurement | None) -> str:
    return "-" if one is None or one.low is None else f"{one.low:.4f} to {one.high:.4f}"
