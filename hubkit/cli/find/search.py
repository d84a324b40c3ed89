"""hubkit search."""

from __future__ import annotations

from dataclasses import asdict

import click

from hubkit.cli.options import json_option, limit_option
from hubkit.cli.output import print_json, print_table


@click.command("search")
@click.argument("words", nargs=-1)
@click.option("--base", help="Base model: its hub id.")
@click.option("--task", help="Its task, such as sentiment, or its task type.")
@click.option("--tag", "tags", multiple=True, help="One of its tags; repeatable.")
@click.option("--owner", help="The owner of the adapters.")
@click.option(
    "--from",
    "--remote",  # what it was called before
    "source",
    metavar="URL",
    default="hf:",
    help="The hub; default: huggingface.co, or HF_ENDPOINT.",
)
@limit_option(50)
@json_option
def command(
    words: tuple[str, ...],
    base: str | None,
    task: str | None,
    tags: tuple[str, ...],
    owner: str | None,
    source: str,
    limit: int,
    as_json: bool,
) -> None:
    """Find adapters on a hub, the most downloaded first.

    To find those in this registry, use `hubkit list`.

    WORDS must stand in an adapter's name. An adapter is listed if it matches all that is given.

    \b
    Example:
      hubkit search --base google-bert/bert-base-uncased --task sentiment
      hubkit search reviews --from https://hub.example.org
    """
    from hubkit.hub.address import Hub, is_remote
    from hubkit.sharing.search_hub import search_remote

    if not is_remote(source):
        raise click.BadParameter(
            f"{source} is not a hub's address, such as https://huggingface.co.",
            param_hint="--from",
        )
    found = search_remote(
        Hub.parse(source),
        text=" ".join(words) or None,
        base=base,
        task=task,
        owner=owner,
        tags=tags,
        limit=limit,
    )
    if as_json:
        print_json(
            [
                {
                    **asdict(one),
                    "updated_at": one.updated_at.isoformat() if one.updated_at else None,
                }
                for one in found
            ]
        )
        return
    if not found:
        click.echo("No adapters found.", err=True)
        return
    print_table(
        ("adapter", "task type", "base model", "library", "downloads", "updated"),
        [
            (
                one.repository,
                one.task_type or "-",
                ", ".join(one.base_models) or "-",
                one.library or "-",
                str(one.downloads),
                f"{one.updated_at:%Y-%m-%d}" if one.updated_at else "-",
            )
            for one in found
        ],
    )
