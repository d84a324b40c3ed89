"""What is to be trained, from the options of a command: its data, read, and its settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import reading
from hubkit.tasks.rows import Rows
from hubkit.training.settings import Settings

if TYPE_CHECKING:
    from hubkit.composing.combine import Chosen
    from hubkit.tasks.task import TaskType
    from hubkit.training.job import HeadKind, Job
    from hubkit.training.tables.table import Table
    from registry.refs import AdapterRef

logger = logging.getLogger(__name__)


def read_job(data: str, name: AdapterRef, task: str, **options: Any) -> Job:
    """Read the data that the options name, and put the rest beside it."""

    def read(kind: TaskType[Any], table: Table, columns: Mapping[str, str]) -> Rows:
        from hubkit.training.data import rows_of

        return rows_of(kind, table, columns)

    make, rows, validation = _read(data, task, read, **options)
    return make(name=name, data=rows, validation=validation)


def read_jobs(data: str, name: AdapterRef, task: str, *, each: str, **options: Any) -> list[Job]:
    """The same for each value of the column ``each``, in the order in which they first occur.

    Args:
        name: The start of all names.
    """

    def read(kind: TaskType[Any], table: Table, columns: Mapping[str, str]) -> dict[str, Rows]:
        from hubkit.training.each.split import read_each

        return read_each(kind, table, each, columns=columns)

    make, parts, validation = _read(data, task, read, **options)
    from hubkit.training.each.split import names_of

    if isinstance(validation, dict) and (unknown := sorted(validation.keys() - parts.keys())):
        logger.warning(
            "%s: %d of %d values of %r have no rows to train on, such as %r; theirs are left out.",
            options["validation"],
            len(unknown),
            len(validation),
            each,
            unknown[0],
        )
    nothing = Rows("", {})
    return [
        make(
            name=ref,
            data=parts[value],
            validation=(
                validation.get(value, nothing) if isinstance(validation, dict) else validation
            ),
            part=(each, value),
            source={**make.keywords["source"], "name": str(name), "each": each},
        )
        for value, ref in names_of(name, parts).items()
    ]


def task_in_common(
    refs: Sequence[AdapterRef], chosen: Sequence[Chosen], task: str | None, task_type: str | None
) -> tuple[str, str]:
    """The task and the task type of what is made of adapters: as given, or else as they all have.

    Args:
        refs: The adapters, as a person wrote them.
        chosen: The versions that they name.

    Raises:
        UsageError: One is not given, and they do not agree in it, or have none.
    """
    versions = [one.version for one in chosen]
    return (
        task or _in_common("task", refs, [one.task for one in versions]),
        task_type or _in_common("task type", refs, [one.task_type for one in versions]),
    )


def _in_common(fact: str, refs: Sequence[AdapterRef], values: Sequence[str | None]) -> str:
    first = values[0]
    if first is None or len(set(values)) > 1:
        listed = ", ".join(
            f"{ref}: {value or 'none'}" for ref, value in zip(refs, values, strict=True)
        )
        raise click.UsageError(
            f"The adapters have no {fact} in common ({listed}); say with "
            f"--{fact.replace(' ', '-')} what is to be trained."
        )
    return first


def take_changed(options: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Take the options in ``defaults`` out of ``options``; return those with another value."""
    taken = {name: options.pop(name) for name in defaults}
    return {name: value for name, value in taken.items() if value != defaults[name]}


def _read(
    data: str,
    task: str,
    read: Callable[..., Any],
    *,
    task_type: str,
    validation: str | None,
    tags: tuple[str, ...],
    description: str,
    head: HeadKind,
    replace: bool,
    source_language: str | None,
    target_language: str | None,
    learning_rate: tuple[float, ...],
    **options: Any,
) -> tuple[partial[Job], Any, Any]:
    """Return a maker of jobs, and the data and the validation rows as ``read`` returns them."""
    from hubkit.training.tables.read import read_table

    # Fail early: read the files before anything that takes seconds to load.
    written = {key: options[key] for key in ("split", "separator", "encoding")}
    table = read_table(data, **written)
    part = _part(validation)
    held_out = read_table(part, **written) if isinstance(part, str) else None

    from hubkit.tasks.table import task_type as find_task_type
    from hubkit.training.job import Job

    kind = find_task_type(task_type, task)
    before = dict(options)
    columns = reading(kind, options)["columns"]
    source = {
        **{"data": data, "validation": validation},
        **{name: value for name, value in before.items() if name not in options},
    }
    rate = learning_rate[0] if len(learning_rate) == 1 else learning_rate
    make = partial(
        Job,
        task=task,
        settings=Settings(learning_rate=rate, **options),
        tags=tags,
        description=description,
        task_type=task_type,
        head=head,
        replace_name=replace,
        source_language=source_language,
        target_language=target_language,
        source=source,
    )
    rows = read(kind, table, columns)
    return make, rows, read(kind, held_out, columns) if isinstance(part, str) else part


def _part(given: str | None) -> str | float | None:
    """The meaning of ``--validation``: other data, or the fraction of the data to hold out."""
    if given is None or given == "none":
        return None if given is None else 0.0
    try:
        fraction = float(given)
    except ValueError:
        return given
    if not 0 < fraction < 1:
        raise click.UsageError(
            f"--validation {given}: expected a file, a fraction over 0 and below 1, or none."
        )
    return fraction
