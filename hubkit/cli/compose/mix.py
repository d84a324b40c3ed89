"""hubkit mix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hubkit.cli.jobs import read_job, take_changed, task_in_common
from hubkit.cli.options import training_options, weights_option
from hubkit.cli.output import print_published, quiet
from hubkit.cli.params import REF, Number
from hubkit.training.settings import FUSION_BATCH_SIZE, MIX_LEARNING_RATE, Settings
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from registry import Version

_OPTIONS: dict[str, Any] = {"vectors": False, "shared": False, "total": 1.0, "dropout": 0.0}
"""The options that are passed on to a learned mix where they are other than these."""

_FIXED = {"refs", "weights", "name", "replace", "as_json", "data"}
"""The options of a mix whose weights are not learned."""


@click.command("mix")
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF REF...")
@weights_option
@click.option("--data", help="Learn the weights, and a new head, from these rows.")
@click.option("--task", help="With --data: the task of the mix; default: that of all the adapters.")
@click.option(
    "--vectors",
    is_flag=True,
    help="With --data: learn a weight for each output of an adapter, not one number.",
)
@click.option(
    "--shared",
    is_flag=True,
    help="With --data: learn one set of weights for all layers, not one for each.",
)
@click.option(
    "--total",
    type=Number(),
    default=_OPTIONS["total"],
    show_default=True,
    help="With --data: the sum of the weights in a layer at the start.",
)
@click.option(
    "--dropout",
    type=Number(0, 1, max_open=True),
    default=_OPTIONS["dropout"],
    show_default=True,
    help="With --data: probability that a weight is dropped during training.",
)
@training_options(Settings(learning_rate=MIX_LEARNING_RATE, batch_size=FUSION_BATCH_SIZE))
def command(
    refs: tuple[AdapterRef, ...],
    weights: tuple[float, ...],
    data: str | None,
    name: AdapterRef,
    as_json: bool,
    **options: Any,
) -> None:
    """Publish the weighted sum of adapters as one.

    A mix adds the outputs of the adapters, each times its weight; the head of the last one
    predicts. Nothing is trained.

    With --data, the weights are learned, one for each adapter and layer, and so is a new head
    (ScaLearn). The options from --config on need --data, except --name, --replace and --json.

    \b
    Example:
      hubkit mix reviews tweets --weight 0.3 --weight 0.7 --name both
      hubkit mix reviews tweets --data mixed.csv --name both
    """
    if data is not None:
        if weights:
            raise click.UsageError("--data learns the weights, and --weight gives them.")
        version = _learned(refs, data, name, options)
    else:
        _require_fixed(click.get_current_context())
        from hubkit.composing.combine import publish_mix
        from registry import open_catalog

        version = publish_mix(open_catalog(), name, refs, weights, replace_name=options["replace"])
    print_published(version, as_json=as_json)


def _require_fixed(ctx: click.Context) -> None:
    """Make sure that nothing was asked of training.

    Raises:
        UsageError: Something was.
    """
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) not in (ParameterSource.DEFAULT, None)
        if given and param.name not in _FIXED and param.expose_value:
            raise click.UsageError(
                f"{param.opts[0]} is for weights that are learned: give --data, too."
            )


def _learned(
    refs: tuple[AdapterRef, ...], data: str, name: AdapterRef, options: dict[str, Any]
) -> Version:
    from hubkit.composing.combine import choose
    from hubkit.composition import Mix
    from registry import open_catalog

    how = take_changed(options, _OPTIONS)
    catalog = open_catalog()
    # Fail early: the imports below take seconds.
    chosen = choose(catalog, refs, Mix)
    task, task_type = task_in_common(refs, chosen, options.pop("task"), options.pop("task_type"))
    with quiet():
        job = read_job(data, name, task, task_type=task_type, **options)
        from hubkit.training.train import train_mix

        return train_mix(catalog, job, refs=chosen, **how)
