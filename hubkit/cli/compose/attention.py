"""hubkit attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hubkit.cli.options import base_option, json_option
from hubkit.cli.output import print_json, print_table, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import check_texts, read_filled, text_options
from registry.refs import AdapterRef
from registry.storage.durable import storage_errors


@click.command("attention")
@click.argument("ref", type=REF)
@text_options
@click.option(
    "--heat-map",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw it as a PNG file.",
)
@base_option
@json_option
def command(
    ref: AdapterRef,
    texts: tuple[str, ...],
    file: str | None,
    batch_size: int,
    heat_map: Path | None,
    base: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what a fusion attends to.

    Prints the mean weight of each adapter at each site, over all tokens of the texts: a row for
    each place in each layer, and a column for each adapter.

    \b
    Example:
      hubkit attention all-round "What a film!" "Great phone"
      hubkit attention all-round --file lines.txt --heat-map attention.png
    """
    check_texts(texts, file)
    with quiet():
        from hubkit.inference import load
        from hubkit.models.attention import layers_and_places
        from hubkit.plots import attention_heat_map

        model = load(ref, base=base)
        rows = read_filled(model.task, model.text, texts, file, options)
        attention = model.attention(rows, batch_size=batch_size)
        where = layers_and_places(model.model, attention)
    title = str(model.version.ref)
    if heat_map is not None:
        named = {
            place if layer is None else f"{layer} {place}": attention[site]
            for site, (layer, place) in where.items()
        }
        with storage_errors("write", heat_map):
            heat_map.write_bytes(attention_heat_map(named, title))
    adapters = list(dict.fromkeys(name for weights in attention.values() for name in weights))
    if as_json:
        sites = [
            {"site": site, "layer": layer, "place": place, "weights": attention[site]}
            for site, (layer, place) in where.items()
        ]
        print_json({"ref": title, "adapters": adapters, "sites": sites})
        return
    print_table(
        ("layer", "place", *adapters),
        [
            (
                "-" if layer is None else str(layer),
                place,
                *(
                    f"{attention[site][name]:.3f}" if name in attention[site] else "-"
                    for name in adapters
                ),
            )
            for site, (layer, place) in where.items()
        ],
        named=True,
    )
