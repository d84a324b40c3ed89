"""hubkit fuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.comparisons import comparison_json, print_comparison
from hubkit.cli.jobs import read_job, take_changed, task_in_common
from hubkit.cli.options import drop_layers_option, training_options
from hubkit.cli.output import (
    print_json,
    print_left_out,
    print_published,
    quiet,
    version_json,
)
from hubkit.cli.params import REF, Number
from hubkit.training.settings import FUSION_BATCH_SIZE, FUSION_LEARNING_RATE, Settings
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from hubkit.training.fusing.own import Own
    from hubkit.training.job import Job
    from registry import Catalog

_OPTIONS: dict[str, Any] = {
    "shared": False,
    "value": True,
    "value_init": "identity",
    "regularization": 0.01,
    "temperature": 1.0,
}
"""The options that are passed on to the fusion where they are other than these."""


@click.command("fuse")
@click.argument("refs", nargs=-1, type=REF, metavar="[REF REF...]")
@click.option("--data", required=True, help="Labelled texts: a file, or the id of a data set.")
@click.option("--task", help="The task of the fusion; default: that of all the adapters.")
@click.option(
    "--auto",
    type=click.IntRange(2, 32),
    metavar="COUNT",
    help="Choose the adapters that help most, at most this many, in place of REFs.",
)
@click.option("--base", metavar="BASE", help="With --auto: the base model of the adapters.")
@click.option(
    "--own",
    type=click.Choice(["none", "before", "apart", "joint"]),
    help="Also fuse an adapter for the data itself, as NAME-own. before: train it first, on the "
    "same rows; apart: on one half of them, the fusion on the other; joint: in the same steps.  "
    "[default: none; with --compare: before]",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Measure first whether the fusion helps: compare it with each donor, the adapter alone, "
    "mixes, and a fusion of random donors. Publish the cheapest of the best.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    help="With --compare: the number of parts of the data, each held out once; default: 6.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="With --compare: how often each is trained on each fold; default: 1.",
)
@click.option(
    "--shared", is_flag=True, help="Learn one attention for all layers, not one for each."
)
@click.option(
    "--value/--no-value",
    default=_OPTIONS["value"],
    show_default=True,
    help="Learn value matrices (AdapterHub's dynamic fusion), or none (static).",
)
@click.option(
    "--value-init",
    type=click.Choice(["identity", "random"]),
    default=_OPTIONS["value_init"],
    show_default=True,
    help="How value matrices start.",
)
@click.option(
    "--regularization",
    type=Number(min=0),
    default=_OPTIONS["regularization"],
    show_default=True,
    help="Factor of the regulariser that keeps value matrices near the identity.",
)
@click.option(
    "--temperature",
    type=Number(min=0, min_open=True),
    default=_OPTIONS["temperature"],
    show_default=True,
    help="Scores are divided by it: above 1, attention is more even.",
)
@drop_layers_option
@training_options(Settings(learning_rate=FUSION_LEARNING_RATE, batch_size=FUSION_BATCH_SIZE))
def command(
    refs: tuple[AdapterRef, ...],
    data: str,
    task: str | None,
    task_type: str | None,
    leave_out: tuple[int, ...] | None,
    auto: int | None,
    base: str | None,
    own: Own | None,
    compare: bool,
    folds: int | None,
    seeds: int | None,
    name: AdapterRef,
    as_json: bool,
    **options: Any,
) -> None:
    """Train AdapterFusion over published adapters, and publish it.

    The base model and the adapters stay as they are; what is trained is the attention over them,
    and a new head. The same command resumes an interrupted run.

    \b
    Example:
      hubkit fuse reviews tweets@2 --data mixed.csv --name all-round
      hubkit fuse reviews tweets news --data few.csv --shared --no-value --name small
      hubkit fuse reviews tweets --data mixed.csv --own apart --name all-round
      hubkit fuse reviews tweets --data few.csv --compare --seeds 2 --name all-round
      hubkit fuse --auto 4 --base bert-base-uncased --data few.csv --task sentiment --name best
    """
    from hubkit.composing.combine import choose
    from hubkit.composition import Fuse
    from registry import open_catalog

    if (auto is None) != bool(refs) or (auto is None) != (base is None):
        raise click.UsageError(
            "Expected either the adapters to fuse, or --auto with the number of those to choose "
            "and --base."
        )
    if not compare and (folds, seeds) != (None, None):
        raise click.UsageError("--folds and --seeds are for --compare.")
    how = take_changed(options, _OPTIONS)
    of_values = how.keys() & {"value_init", "regularization"}
    if "value" in how and of_values:
        raise click.UsageError(
            f"--{min(of_values).replace('_', '-')} is about value matrices, and --no-value leaves "
            "them out."
        )
    how |= {"leave_out": leave_out} if leave_out else {}
    catalog = open_catalog()
    if auto is None:
        # Fail early: the imports below take seconds.
        chosen = choose(catalog, refs, Fuse)
        task, task_type = task_in_common(refs, chosen, task, task_type)
    elif task is None:
        raise click.UsageError(
            "Say with --task what is to be trained: the adapters that are chosen may do anything."
        )
    task_type = task_type or "text-classification"
    with quiet():
        job = read_job(data, name, task, task_type=task_type, **options)
        if auto is not None:
            assert base is not None
            chosen = choose(catalog, _best(catalog, job, base, auto), Fuse)
        if compare:
            from hubkit.comparing.compare import FOLDS, compare_fusion

            comparison, version = compare_fusion(
                catalog,
                job,
                refs=chosen,
                own=own or "before",
                folds=folds or FOLDS,
                seeds=seeds or 1,
                **how,
            )
        else:
            from hubkit.training.train import train_fusion

            version = train_fusion(catalog, job, refs=chosen, own=own or "none", **how)
    if compare and as_json:
        print_json({"comparison": comparison_json(comparison), "version": version_json(version)})
        return
    if compare:
        print_comparison(comparison)
    print_published(version, as_json=as_json)


def _best(catalog: Catalog, job: Job, base: str, most: int) -> list[AdapterRef]:
    """The donors that help most with the rows of a job; says why each is taken."""
    from hubkit.suggesting.suggest import suggest

    found = suggest(
        catalog,
        job.data,
        base=base,
        task_type=job.task_type,
        take=most,
        seed=job.settings.seed,
        max_length=job.settings.max_length,
    )
    print_left_out(found.left_out)
    over = "the base model alone"
    for one in found.taken:
        click.echo(
            f"Takes {one.version.ref}: {found.metric} {one.score:.4f}, {one.gain:+.4f} ± "
            f"{one.error:.4f} over {over}.",
            err=True,
        )
        over = "those before it"
    if len(found.taken) < min(most, len(found.ranked)):
        click.echo("Takes no other: none adds more than its standard error.", err=True)
    return [one.version.ref for one in found.taken]
