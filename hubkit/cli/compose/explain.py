"""hubkit explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hubkit.cli.options import base_option, json_option
from hubkit.cli.output import print_json, print_table, quiet
from hubkit.cli.params import REF
from hubkit.cli.texts import check_texts
from registry.refs import AdapterRef
from registry.storage.durable import storage_errors

if TYPE_CHECKING:
    from torch import Tensor

    from hubkit.models.attention import TokenAttention


@click.command("explain")
@click.argument("ref", type=REF)
@click.argument("text")
@click.option("--layer", type=click.IntRange(min=0), metavar="N", help="One layer, from 0.")
@click.option("--by-layer", is_flag=True, help="Each layer, in place of the mean over all.")
@click.option("--pieces", is_flag=True, help="The tokens themselves, not joined to words.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page with the mean and each layer.",
)
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw the layer of --layer, or the mean over all.",
)
@base_option
@json_option
def command(
    ref: AdapterRef,
    text: str,
    layer: int | None,
    by_layer: bool,
    pieces: bool,
    html: Path | None,
    png: Path | None,
    base: str | None,
    as_json: bool,
) -> None:
    """Show which adapter of a fusion each word of a text attends to.

    Prints the weight that each word gives to each adapter, the mean over the layers. A word has the
    mean of the weights of its tokens. Of a stack, the fusion in it is shown. If a row has several
    columns, the text is a JSON object.

    \b
    Example:
      hubkit explain all-round "What a film!"
      hubkit explain all-round "What a film!" --by-layer --html film.html
      hubkit explain all-round "What a film!" --layer 0 --pieces --png film.png
    """
    if by_layer and layer is not None:
        raise click.UsageError("--layer is one layer, and --by-layer is each: give one of them.")
    check_texts((text,), None)
    with quiet():
        from hubkit.inference import load
        from hubkit.predicting.inputs import row_of, takes_objects

        model = load(ref, base=base)
        objects = takes_objects(model.task, model.text)
        found = model.explain(
            row_of(model.task, text, "the argument", objects=objects), pieces=pieces
        )
    shown = found.mean() if layer is None else found.in_layer(layer)
    unit, title = "token" if pieces else "word", str(model.version.ref)
    if html is not None:
        from hubkit.reports.explanation import explanation_page

        page = explanation_page(found, title, unit)
        with storage_errors("write", html):
            html.write_text(page, encoding="utf-8")
    if png is not None:
        from hubkit.plots import token_heat_map

        where = "mean over the layers" if layer is None else f"layer {layer}"
        picture = token_heat_map(
            found.tokens, found.adapters, shown.tolist(), f"{title}, {where}", unit
        )
        with storage_errors("write", png):
            png.write_bytes(picture)
    if as_json:
        print_json(_document(found, title, unit))
    elif by_layer:
        rows = [
            (str(number), *row)
            for number in found.layers
            for row in _rows(found, found.in_layer(number))
        ]
        print_table(("layer", unit, *found.adapters), rows, named=True)
    else:
        print_table((unit, *found.adapters), _rows(found, shown), named=True)


def _rows(found: TokenAttention, weights: Tensor) -> list[tuple[str, ...]]:
    return [
        (token, *(f"{weight:.3f}" for weight in row))
        for token, row in zip(found.tokens, weights.tolist(), strict=True)
    ]


def _document(found: TokenAttention, ref: str, unit: str) -> dict[str, object]:
    def by_name(weights: Tensor) -> list[dict[str, float]]:
        return [dict(zip(found.adapters, row, strict=True)) for row in weights.tolist()]

    return {
        "ref": ref,
        "adapters": [*found.adapters],
        f"{unit}s": [*found.tokens],
        "mean": by_name(found.mean()),
        "layers": [
            {"layer": number, "weights": by_name(found.in_layer(number))} for number in found.layers
        ],
    }
