"""hubkit lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json
from hubkit.cli.params import REF
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from rich.tree import Tree

    from registry.tables.lineage import Relative


@click.command("lineage")
@click.argument("ref", type=REF)
@json_option
def command(ref: AdapterRef, as_json: bool) -> None:
    """Show what an adapter is made of, and what is made of it.

    Prints two trees, with all adapters in between.

    \b
    Example:
      hubkit lineage all-round
    """
    from registry import open_catalog
    from registry.tables.lineage import find_ancestors, find_descendants

    catalog = open_catalog()
    version = catalog.resolve(ref)
    with catalog.database.read() as connection:
        made_of = find_ancestors(connection, version.manifest_digest)
        used_by = find_descendants(connection, version.manifest_digest)
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "made_of": [_document(relative) for relative in made_of],
                "used_by": [_document(relative) for relative in used_by],
            }
        )
        return
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(f"{version.ref} ({version.method})")
    for title, relatives in (("made of", made_of), ("used by", used_by)):
        if relatives:
            _grow(tree.add(title), relatives)
    Console(highlight=False).print(tree, soft_wrap=True)


def _grow(tree: Tree, relatives: tuple[Relative, ...]) -> None:
    for relative in relatives:
        label = relative.ref
        if relative.version is None:
            label += f" ({relative.digest[:12]}, not in this registry)"
        elif relative.version.ref.is_nameless:
            label = f"{relative.digest[:12]} (deleted, {relative.version.method})"
        else:
            label += f" ({relative.version.method})"
        _grow(tree.add(label + (", as above" if relative.repeated else "")), relative.relatives)


def _document(relative: Relative) -> dict[str, Any]:
    return {
        "ref": relative.ref,
        "digest": relative.digest,
        "here": relative.version is not None,
        "relatives": [_document(other) for other in relative.relatives],
        "repeated": relative.repeated,
    }
