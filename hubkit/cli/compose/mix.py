"""hubkit mix."""

from __future__ import annotations

import click

from hubkit.cli.options import json_option, name_option, replace_option
from hubkit.cli.output import print_published
from hubkit.cli.params import REF, Number
from registry.refs import AdapterRef


@click.command("mix")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@click.option(
    "--weight",
    "weights",
    type=Number(),
    multiple=True,
    help="Weight of an adapter; once for each, in their order.  [default: equal, one in all]",
)
@name_option
@replace_option
@json_option
def command(
    refs: tuple[AdapterRef, ...],
    weights: tuple[float, ...],
    name: AdapterRef,
    replace: bool,
    as_json: bool,
) -> None:
    """Publish the weighted sum of adapters as one.

    What each would add is added with its weight; the last one's head predicts. Nothing is trained.

    \b
    Example:
      hubkit mix reviews tweets --weight 0.3 --weight 0.7 --name both
    """
    from hubkit.composing.combine import publish_mix
    from registry import open_catalog

    version = publish_mix(open_catalog(), name, refs, weights, replace=replace)
    print_published(version, as_json=as_json, then=f'hubkit predict {version.ref} "some text"')
