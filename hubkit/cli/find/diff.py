"""hubkit diff."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, print_table
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("diff")
@click.argument("one", type=REF)
@click.argument("other", type=REF)
@json_option
def command(one: AdapterRef, other: AdapterRef, as_json: bool) -> None:
    """Show what differs between two versions.

    It compares configuration, metrics, files and tensors. A tensor's change is the norm of
    the difference over the norm of the first tensor.

    \b
    Example:
      hubkit diff reviews@1 reviews@2
    """
    from hubkit.composing.diff import compare
    from registry import open_catalog

    catalog = open_catalog()
    first, second = catalog.resolve(one), catalog.resolve(other)
    difference = compare(catalog, first, second)
    if as_json:
        print_json(
            {
                "before": str(first.ref),
                "after": str(second.ref),
                "fields": [_document(change) for change in difference.fields],
                "metrics": [_document(change) for change in difference.metrics],
                "files": [_document(change) for change in difference.files],
                "tensors": [
                    {
                        **_document(tensor),
                        "relative": tensor.relative
                        if tensor.relative is not None and math.isfinite(tensor.relative)
                        else None,
                    }
                    for tensor in difference.tensors
                ],
            }
        )
        return
    rows = [
        (change.name, _text(change.before), _text(change.after), "") for change in difference.fields
    ]
    rows += [
        (change.name, _text(change.before), _text(change.after), _gap(change.before, change.after))
        for change in difference.metrics
    ]
    rows += [
        (change.name, _digest(change.before), _digest(change.after), "")
        for change in difference.files
    ]
    rows += [
        (
            tensor.name,
            _shape(tensor.before),
            _shape(tensor.after),
            "" if tensor.relative is None else f"{tensor.relative:.2%}",
        )
        for tensor in difference.tensors
    ]
    if rows:
        print_table(("what", str(first.ref), str(second.ref), "change"), rows)
    else:
        click.echo("They are the same.", err=True)


def _document(change: Any) -> dict[str, Any]:
    return {"name": change.name, "before": change.before, "after": change.after}


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _gap(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{after - before:+.4f}"


def _digest(digest: str | None) -> str:
    return "-" if digest is None else digest[:12]


def _shape(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"
