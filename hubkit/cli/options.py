"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hubkit.cli.configuration import config_option
from hubkit.cli.params import LAYERS, NAME, SIZE, Number
from hubkit.training.choosing.budget import (
    BATCH_SIZE,
    EPOCHS,
    FEW,
    PATIENCE,
    PATIENT_STEPS,
    STEPS,
)
from hubkit.training.settings import CACHE_TRUNK, PRECISIONS, SCHEDULES, Settings
from registry.task_types import TASK_NAMES

if TYPE_CHECKING:
    from hubkit.tasks.task import TaskType

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Decorator = Callable[[_Command], _Command]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

name_option = click.option(
    "--name", type=NAME, required=True, help="What to call it: NAME or OWNER/NAME."
)

replace_option = click.option(
    "--replace",
    is_flag=True,
    help="Use the name even if it means another kind of adapter now.",
)

base_option = click.option(
    "--base",
    metavar="BASE",
    help="The place of the base model, if it has moved: a folder or a hub id.",
)

allow_base_mismatch_option = click.option(
    "--allow-base-mismatch",
    is_flag=True,
    help="Use another base model than it was trained on; that is noted.",
)

drop_layers_option = click.option(
    "--drop-layers",
    "leave_out",
    type=LAYERS,
    metavar="NUMBERS",
    help="Layers that get nothing, from 0, such as 0-3,7; default: none.",
)


weights_option = click.option(
    "--weight",
    "weights",
    type=Number(),
    multiple=True,
    help="Weight of an adapter, in the order of the REFs; repeatable.  [default: equal, 1 in all]",
)


def limit_option(default: int) -> Callable[[_Command], _Command]:
    """``--limit``: how many rows of what was found are listed at most."""
    return click.option(
        "--limit",
        type=click.IntRange(1, 1000),
        default=default,
        show_default=True,
        help="At most this many.",
    )


def yes_option(
    question: str, refusal: str, *, note: Callable[[click.Context], str] = lambda ctx: ""
) -> Callable[[_Command], _Command]:
    """Ask before the command does anything; ``--yes`` answers.

    Args:
        question: The question to the user.
        refusal: What has not happened if the answer is no, such as ``Not deleted``.
        note: Says what the user should know before; default: nothing.
    """

    def ask(ctx: click.Context, param: click.Parameter, yes: bool) -> None:
        if not yes and (text := note(ctx)):
            click.echo(text, err=True)
        try:
            agreed = yes or click.confirm(question, err=True)
        except click.Abort as error:
            click.echo(err=True)  # ends the line of the question
            raise click.ClickException(f"{refusal}: add --yes if no user can answer.") from error
        if not agreed:
            raise click.ClickException(f"{refusal}.")

    return click.option(
        "--yes",
        is_flag=True,
        expose_value=False,
        callback=ask,
        help="Do not ask for confirmation.",
    )


def data_options(command: _Command) -> _Command:
    """Which part of the labelled data is meant."""
    return _all(
        command,
        input_options,
        click.option(
            "--split",
            default="train",
            show_default=True,
            help="Split of a data set; a file has only one.",
        ),
        click.option(
            "--label-column",
            metavar="COLUMN",
            help="Column of the labels; default: label, or score for text-regression.",
        ),
        click.option(
            "--labels-column",
            metavar="COLUMN",
            help="Column of lists of labels, if several hold; default: labels.",
        ),
    )


def input_options(command: _Command) -> _Command:
    """Where the texts of a table are, and how the file is written."""
    return _all(
        command,
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="NAME=COLUMN",
            callback=_pairs,
            help="Column that holds NAME, such as prompt=question; default: the same; repeatable.",
        ),
        click.option("--text-column", metavar="COLUMN", help="Column of the texts; default: text."),
        click.option(
            "--pair-column",
            metavar="COLUMN",
            help="Column of second texts, read with the first; default: text_pair, if it is there.",
        ),
        click.option(
            "--separator",
            metavar="CHARACTER",
            callback=_separator,
            help="The separator of the columns of a CSV file; default: a comma.",
        ),
        click.option(
            "--encoding", default="utf-8", show_default=True, help="Of a CSV, TSV or JSON file."
        ),
    )


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, column = value.partition("=")
        if not (name and equals and column) or name in found:
            raise click.BadParameter(f"{value!r}: expected NAME=COLUMN, once for each name.")
        found[name] = column
    return found


def _separator(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return "\t" if value in ("\\t", "tab") else value


def reading(task: TaskType[Any], options: dict[str, Any]) -> dict[str, Any]:
    """What ``read_rows`` and ``read_inputs`` take, from the options of `data_options`.

    Args:
        task: The task type, which has the columns.
        options: The values by parameter; those for reading are taken out.
    """
    own = [column.name for column in task.columns]
    learned = next((column.name for column in task.targets), None)
    called = {
        "text": options.pop("text_column"),
        "text_pair": options.pop("pair_column"),
        learned: options.pop("label_column", None),
        "labels": options.pop("labels_column", None),
    }
    for name, column in options.pop("columns").items():
        if called.setdefault(name, column) not in (None, column):
            raise click.UsageError(f"The column {name!r} is named twice.")
        called[name] = column
    for name, column in called.items():
        if column is not None and name not in own:
            raise click.UsageError(
                f"{task.name} has no column {name!r}; its columns are {', '.join(own)}."
            )
    return {
        "columns": {name: column for name, column in called.items() if column is not None},
        **{
            name: options.pop(name)
            for name in ("split", "separator", "encoding")
            if name in options
        },
    }


def _class_weights(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> str | dict[str, float] | None:
    if values == ("balanced",):
        return "balanced"
    found: dict[str, float] = {}
    for value in values:
        label, equals, weight = value.rpartition("=")
        if not (label and equals) or label in found:
            raise click.BadParameter(
                f"{value!r}: expected balanced, or LABEL=WEIGHT, once for each label."
            )
        found[label] = Number(min=0).convert(weight, param, ctx)
    return found or None


def training_options(
    defaults: Settings, task_type: str | None = None
) -> Callable[[_Command], _Command]:
    """What `train`, `fuse` and `mix` have in common; `read_job` takes all of it but the task.

    Args:
        defaults: What is not said otherwise.
        task_type: Likewise; None where the command finds out.
    """
    count = click.IntRange(1, 2**31 - 1)

    def setting(name: str, type: click.ParamType[Any], help: str) -> Callable[[Any], Any]:
        return click.option(
            f"--{name.replace('_', '-')}",
            type=type,
            default=getattr(defaults, name),
            show_default=True,
            help=help,
        )

    def decorate(command: _Command) -> _Command:
        return _all(
            command,
            config_option,
            name_option,
            replace_option,
            click.option(
                "--task-type",
                type=click.Choice([*TASK_NAMES]),
                default=task_type,
                show_default=task_type or "that of the adapters",
                help="The kind of task: which columns the data has, and what is predicted.",
            ),
            click.option(
                "--validation",
                metavar="FILE|FRACTION|none",
                help="Rows that choose the best epoch: a file, or the fraction of the data to hold "
                "out. Default: a fifth, at most 500 rows. none: hold out nothing, keep the last "
                f"epoch. By default, {FEW} rows or fewer are all trained on after a fifth of them "
                "was measured.",
            ),
            data_options,
            click.option(
                "--head",
                type=click.Choice(["transformers", "flexible"]),
                default="transformers",
                show_default=True,
                help="The head of the base model's class, or AdapterHub's with two layers.",
            ),
            setting(
                "epochs",
                count,
                f"Passes over the data, at most; default: {EPOCHS}, or as many as make {STEPS} "
                "steps.",
            ),
            setting("steps", count, "Steps, at most; with --epochs, whichever comes first."),
            click.option(
                "--learning-rate",
                multiple=True,
                type=Number(min=0, min_open=True),
                default=defaults.learning_rates,
                show_default=True,
                help="The highest learning rate. If repeated, each is tried, and the one with the "
                "lowest validation loss is kept.",
            ),
            setting(
                "batch_size",
                count,
                "Rows computed together"
                + ("." if defaults.batch_size else f"; default: {BATCH_SIZE}."),
            ),
            setting("gradient_accumulation", count, "Batches in a step."),
            setting("max_length", count, "Tokens of a row; default: 128, question-answering: 384."),
            setting("target_max_length", count, "Tokens of a text to write; default: as of a row."),
            click.option(
                "--source-language",
                metavar="CODE",
                help="Language of the source, by its code in a multilingual base model: en_XX.",
            ),
            click.option("--target-language", metavar="CODE", help="The same for the target."),
            setting(
                "patience",
                count,
                "Epochs without a better validation loss, then stop; default: "
                f"{PATIENCE}, or as many as make {PATIENT_STEPS} steps.",
            ),
            setting(
                "warmup",
                Number(min=0),
                "Steps in which the learning rate rises; below 1, the fraction of all steps.",
            ),
            setting("schedule", click.Choice(SCHEDULES), "The course of the learning rate."),
            setting("weight_decay", Number(min=0), "Of AdamW."),
            click.option(
                "--class-weights",
                multiple=True,
                metavar="balanced|LABEL=WEIGHT",
                callback=_class_weights,
                help="Weights of the classes in the loss: balanced, or one for each; repeatable; "
                "default: 1.",
            ),
            click.option(
                "--gradient-checkpointing",
                is_flag=True,
                help="Take more time and less memory; the result is the same.",
            ),
            click.option(
                "--precision",
                type=click.Choice(PRECISIONS),
                help="Mixed precision, or no for float32 alone; default: as the base is stored.",
            ),
            click.option(
                "--cache-trunk",
                type=SIZE,
                is_flag=False,
                flag_value=str(CACHE_TRUNK),
                metavar="[SIZE]",
                help="Compute the layers below the lowest trained one once, without dropout, and "
                "keep the results on the disk until the run ends, such as 500MB; default: 4GB.",
            ),
            click.option(
                "--report-to",
                multiple=True,
                metavar="REPORTER",
                help="A tool to report to, such as tensorboard or wandb; repeatable.",
            ),
            setting("seed", click.IntRange(0, 2**32 - 1), "Of every random generator."),
            click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable."),
            click.option("--description", default="", help="For people."),
            json_option,
        )

    return decorate


def _all(command: _Command, *decorators: Callable[[Any], Any]) -> _Command:
    # A decorator that comes first in the source, and in --help, is the last to be applied.
    for decorate in reversed(decorators):
        command = decorate(command)
    return command
