"""hubkit evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import (
    allow_base_mismatch_option,
    base_option,
    data_options,
    json_option,
    reading,
)
from hubkit.cli.output import measured_text, print_facts, print_json, quiet
from hubkit.cli.params import REF
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from hubkit.inference import AdaptedModel
    from hubkit.measuring.paired import Difference
    from hubkit.tasks.rows import Rows
    from registry import Measurement, Version


@click.command("evaluate")
@click.argument("refs", type=REF, nargs=-1, required=True, metavar="REF [REF]")
@click.argument("data")
@click.option(
    "--record",
    is_flag=True,
    help="Keep the results beside the version, with 95 % confidence intervals.",
)
@click.option(
    "--paired",
    is_flag=True,
    help="Compare two adapters on the same rows: is the difference more than chance?",
)
@base_option
@allow_base_mismatch_option
@data_options
@json_option
def command(
    refs: tuple[AdapterRef, ...],
    data: str,
    record: bool,
    paired: bool,
    base: str | None,
    allow_base_mismatch: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure an adapter on the rows in DATA, or compare two.

    \b
    Example:
      hubkit evaluate reviews test.csv
      hubkit evaluate reviews test.csv --record
      hubkit evaluate reviews@1 reviews@2 test.csv --paired
      hubkit evaluate reviews stanfordnlp/imdb --split test --json
    """
    if len(refs) != (2 if paired else 1):
        raise click.UsageError(
            f"Expected {'two adapters' if paired else 'one adapter'} and the data, found "
            f"{len(refs)} before {data!r}." + ("" if paired else " To compare two, add --paired.")
        )
    if paired and record:
        raise click.UsageError("--record keeps what was measured of one adapter, without --paired.")
    with quiet():
        from hubkit.inference import load
        from hubkit.measuring.answers import Answers
        from hubkit.measuring.measure import evaluate, measure
        from hubkit.measuring.paired import differences, require_comparable
        from hubkit.tasks.table import task_type
        from hubkit.training.data import read_rows
        from registry import open_catalog

        # Fail early: the rows are read before the model, which takes seconds.
        catalog = open_catalog()
        versions = [catalog.resolve(ref) for ref in refs]
        version = versions[0]
        task = task_type(version.task_type, str(version.ref))
        rows = read_rows(task, data, **reading(task, options))

        def loaded(version: Version) -> AdaptedModel:
            return load(
                version.ref, base=base, allow_base_mismatch=allow_base_mismatch, catalog=catalog
            )

        if paired:
            require_comparable(*versions)
            # One after the other, so that one model at a time takes memory.
            found = differences(*(Answers.of(loaded(one), rows) for one in versions))
        elif record:
            split = "test" if Path(data).is_file() else options["split"]
            measurements = measure(loaded(version), rows, split=split)
            new = catalog.record(version.ref, measurements)
        else:
            metrics = evaluate(loaded(version), rows)
    if paired:
        _print_paired(versions, rows, found, as_json)
        return
    if record:
        _print_recorded(version, rows, measurements, new, as_json)
        return
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "dataset": rows.dataset,
                "examples": len(rows),
                "metrics": metrics,
            }
        )
        return
    click.echo(f"{version.ref} on {rows.name}, {len(rows)} rows")
    print_facts([(name, f"{value:.4f}") for name, value in metrics.items()])


def _print_recorded(
    version: Version,
    rows: Rows,
    measurements: Sequence[Measurement],
    new: Sequence[Measurement],
    as_json: bool,
) -> None:
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "dataset": rows.dataset,
                "examples": len(rows),
                "metrics": {one.metric: one.value for one in measurements},
                "measurements": [one.model_dump(mode="json") for one in measurements],
                "recorded": [one.metric for one in new],
            }
        )
        return
    click.echo(f"{version.ref} on {rows.name}, {len(rows)} rows")
    print_facts([(one.metric, measured_text(one)) for one in measurements])
    known = len(measurements) - len(new)
    if known:
        click.echo(f"{known} of them were recorded with the same value before.", err=True)


def _print_paired(
    versions: Sequence[Version], rows: Rows, found: Sequence[Difference], as_json: bool
) -> None:
    first, second = (str(version.ref) for version in versions)
    if as_json:
        print_json(
            {
                "first": first,
                "second": second,
                "dataset": rows.dataset,
                "examples": len(rows),
                "differences": [
                    {
                        **asdict(one),
                        "better": {"first": first, "second": second, None: None}[one.better],
                    }
                    for one in found
                ],
            }
        )
        return
    click.echo(f"{second} against {first} on {rows.name}, {len(rows)} rows")
    print_facts([(one.metric, _difference(one)) for one in found])
    click.echo(_meaning(found[0], first, second))


def _difference(one: Difference) -> str:
    parts = [f"{one.first:.4f} -> {one.second:.4f}", f"{one.difference:+.4f}"]
    if one.low is not None:
        parts.append(f"(95 % from {one.low:+.4f} to {one.high:+.4f})")
    if one.p is not None:
        parts.append(f"p {one.p:.2g} ({one.test})")
    return "  ".join(parts)


def _meaning(one: Difference, first: str, second: str) -> str:
    """The meaning of the main metric's difference, in plain words."""
    if one.p is None:
        return f"One row does not show which is better in {one.metric}."
    if one.better is None:
        return (
            f"These rows do not show which is better in {one.metric}: chance alone often gives "
            f"such a difference (p {one.p:.2g})."
        )
    better, worse = (second, first) if one.better == "second" else (first, second)
    return (
        f"{better} is better than {worse} in {one.metric}: chance alone seldom gives such a "
        f"difference (p {one.p:.2g})."
    )
