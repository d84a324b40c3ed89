"""hubkit stack."""

from __future__ import annotations

import click

from hubkit.cli.options import json_option, name_option, replace_option
from hubkit.cli.output import print_published
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("stack")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@name_option
@replace_option
@json_option
def command(refs: tuple[AdapterRef, ...], name: AdapterRef, replace: bool, as_json: bool) -> None:
    """Publish adapters one after the other as one.

    Each reads what the one before it has changed; the last one's head predicts. Nothing is
    trained.

    \b
    Example:
      hubkit stack german reviews --name german-reviews
    """
    from hubkit.composing.combine import publish_stack
    from registry import open_catalog

    version = publish_stack(open_catalog(), name, refs, replace_name=replace)
    print_published(version, as_json=as_json)
