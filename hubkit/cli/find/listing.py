"""hubkit list; as a module called list, it would hide the builtin from its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hubkit.bases.names import normalize
from hubkit.cli.options import json_option, limit_option
from hubkit.cli.output import base_column, print_json, print_table, version_json
from hubkit.cli.params import SIZE

if TYPE_CHECKING:
    from registry.refs import AdapterRef
    from registry.tables.measurements import Measurement
    from registry.tables.versions import Version

KINDS = ("adapter", "fusion", "stack", "mix")
"""The values of `registry.manifest.Kind`, which takes pydantic to import; a test compares them."""

SORTS = ("date", "score", "downloads")
"""The values of `registry.search.pages.Sort`, likewise."""


@click.command("list")
@click.argument("words", nargs=-1)
@click.option("--base", help="Base model: hub id or folder, name, family or fingerprint.")
@click.option("--task", help="Its task, such as sentiment.")
@click.option("--task-type", help="Its task type, such as text-classification.")
@click.option("--method", help="Its method, such as seq_bn, fusion or stack.")
@click.option("--kind", type=click.Choice(KINDS), help="One adapter, or a combination of several.")
@click.option("--tag", help="One of its tags.")
@click.option("--owner", help="The owner of the adapters.")
@click.option("--language", help="BCP 47 tag, such as en.")
@click.option("--license", help="SPDX identifier, such as apache-2.0.")
@click.option("--max-size", type=SIZE, help="The largest size, such as 500kB or 20MB.")
@click.option("--metric", help="A bound, such as 'accuracy>=0.9'.")
@click.option("--dataset", help="Measured on it; with --metric, the bound holds there.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="date",
    show_default=True,
    help="Latest, best or most pulled first.",
)
@limit_option(50)
@json_option
def command(
    words: tuple[str, ...],
    base: str | None,
    limit: int,
    as_json: bool,
    **conditions: Any,
) -> None:
    """List the adapters that match everything given.

    WORDS are looked for in name, task, base model, tags and description. Of each adapter, the
    newest version that is not yanked is shown.

    \b
    Example:
      hubkit list
      hubkit list film reviews --task sentiment --base bert-base-uncased
      hubkit list --metric "accuracy>=0.9" --sort score --limit 10
    """
    from registry import open_catalog
    from registry.search.search import search

    catalog, after = open_catalog(), None
    items: list[Version] = []
    while True:
        page = search(
            catalog,
            text=" ".join(words) if words else None,
            base=None if base is None else normalize(base),
            limit=limit - len(items),
            after=after,
            **conditions,
        )
        items += page.items
        after = page.next
        if after is None or len(items) == limit:
            break
    more = after is not None
    measured = catalog.measurements(items)
    if as_json:
        print_json({"adapters": [_json(version, measured) for version in items], "more": more})
        return
    if items:
        print_table(
            ("adapter", "task", "method", "base model", "score", "published"),
            [_row(version, measured.get(version.ref, ())) for version in items],
            lesser=("published", "method", "base model", "task"),
        )
    else:
        click.echo("No adapters found.", err=True)
    if more:
        click.echo(f"There are more than {limit}: say which, or raise --limit.", err=True)


def _json(version: Version, measured: Mapping[AdapterRef, Sequence[Measurement]]) -> dict[str, Any]:
    of_version = measured.get(version.ref, ())
    return {
        **version_json(version),
        "measurements": [one.model_dump(mode="json") for one in of_version],
    }


def _row(version: Version, measured: Sequence[Measurement]) -> tuple[str, ...]:
    return (
        str(version.ref),
        version.task or "-",
        version.method,
        base_column(version.base_model),
        _score(version, measured),
        f"{version.created_at:%Y-%m-%d}",
    )


def _score(version: Version, measured: Sequence[Measurement]) -> str:
    """The score of `--sort score`: the last one measured, else that of training."""
    found = [(one.metric, one.value) for one in measured if one.higher_is_better]
    found += [(one.name, one.value) for one in version.metrics if one.higher_is_better]
    return f"{found[0][0]} {found[0][1]:.3f}" if found else "-"
