"""hubkit average."""

from __future__ import annotations

import click

from hubkit.cli.options import json_option, name_option, replace_option, weights_option
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("average")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@weights_option
@click.option(
    "--align",
    is_flag=True,
    help="First reorder the units of each bottleneck to match those of the first adapter.",
)
@name_option
@replace_option
@json_option
def command(
    refs: tuple[AdapterRef, ...],
    weights: tuple[float, ...],
    align: bool,
    name: AdapterRef,
    replace: bool,
    as_json: bool,
) -> None:
    """Publish the average of the weights of adapters as one.

    It has the shape and the speed of one of them, and the head of the last one. A mix adds the
    outputs of the adapters, an average their weights. Nothing is trained.

    \b
    Example:
      hubkit average film-reviews book-reviews --align --name reviews
    """
    from hubkit.composing.combine import choose
    from hubkit.composition import Mix
    from registry import open_catalog

    catalog = open_catalog()
    # Fail early: the imports below take seconds.
    chosen = choose(catalog, refs, Mix)
    with quiet():
        from hubkit.composing.average import publish_average

        version = publish_average(catalog, name, chosen, weights, align=align, replace_name=replace)
    print_published(version, as_json=as_json)
