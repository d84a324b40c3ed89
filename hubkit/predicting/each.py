"""Rows that are each answered by the adapter of its value in a column, such as its user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubkit.predicting.files import files_of
from hubkit.predicting.many import ManyAdapters, load_many
from hubkit.tasks.running import Cut
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Prediction, TaskType
from hubkit.training.each.split import names_of, read_value
from hubkit.training.tables.read import read_blocks
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import AdapterError, DataError, NotFoundError, RefNotFoundError, listed
from registry.manifest import TextInfo, canonical_digest

_SHOWN = 5
"""Values, and rows of each, that a message names."""


@dataclass(frozen=True)
class EachModel:
    """A frozen base model that answers each row by the adapter of its value in a column.

    Attributes:
        many: The adapters, and the base model.
        task: The task type of all of them.
        each: The column.
        versions: The adapter of each value.
        text: Unknown: they may differ in it. Rows are those of a table, so nobody needs it.
    """

    many: ManyAdapters
    task: TaskType[Any]
    each: str
    versions: Mapping[str, Version]
    text: TextInfo | None = None

    @property
    def depends_on(self) -> dict[str, str]:
        """What its answers depend on, beside the rows and the options."""
        digests = {value: version.manifest_digest for value, version in self.versions.items()}
        return {
            "version": canonical_digest(digests),
            "base": self.many.base_digest,
            "dtype": str(self.many.model.dtype),
        }

    def predict_block(
        self, block: Iterable[Mapping[str, Any]], **how: Any
    ) -> tuple[Sequence[Prediction], Cut]:
        """Answers to rows that have the column, too, and how many of these were cut off.

        Raises:
            DataError: As ``ManyAdapters.predict``, or a row has a value without an adapter.
        """
        rows, own = list(block), [column.name for column in self.task.inputs]
        values = [str(row[self.each]).strip() for row in rows]
        if odd := sorted({*values} - self.versions.keys()):
            raise DataError(f"No adapter was loaded for {odd[0]!r} in {self.each!r}.", odd[0])
        return self.many.predict_block(
            [{name: row[name] for name in own if name in row} for row in rows],
            [str(self.versions[value].ref) for value in values],
            **how,
        )


def values_of(
    source: str | Path, column: str, *, separator: str | None = None, encoding: str = "utf-8"
) -> dict[str, list[int]]:
    """The values of a column of tables, each with the numbers of its first rows; not of empty ones.

    Raises:
        DataError: As ``read_value``, or a table cannot be read.
    """
    found: dict[str, list[int]] = {}
    number = 0
    for file in files_of(str(source)):
        with file.at_hand() as path:
            tables = read_blocks(path, separator=separator, encoding=encoding, may_be_empty=True)
            for table in tables:
                for value in table.column(column):
                    number += 1
                    if value is not None and str(value).strip():
                        name = read_value(value, column, str(source), f"row {number}")
                        rows = found.setdefault(name, [])
                        if len(rows) <= _SHOWN:
                            rows.append(number)
    return found


def versions_of(
    prefix: AdapterRef,
    source: str | Path,
    column: str,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    catalog: Catalog | None = None,
) -> dict[str, AdapterRef]:
    """The newest version of the adapter of each value in a column of tables.

    Args:
        prefix: What the names of the adapters begin with, as in
            ``hubkit.training.each.train_each``; with an alias, that of each.
        source: The table, or several, as in :func:`~hubkit.predicting.files.files_of`.
        column: The column.
        separator: The separator of the columns of a CSV file.
        encoding: The encoding of a text file.
        catalog: The registry; default: the user's.

    Raises:
        RefNotFoundError: Values have no adapter.
        DataError: A table cannot be read, or two values have one name.
    """
    catalog = catalog or open_catalog()
    rows = values_of(source, column, separator=separator, encoding=encoding)
    if not rows:
        raise DataError(f"{source} has no value in {column!r}.", source)
    found: dict[str, AdapterRef] = {}
    missing = []
    for value, ref in names_of(prefix, rows).items():
        try:
            found[value] = _trained_for(catalog, ref, value)
        except NotFoundError as error:
            missing.append(f"{value!r} in {_listed(rows[value])} ({error})")
    if missing:
        raise RefNotFoundError(
            f"{source}: {len(missing)} of {len(rows)} values of {column!r} have no adapter: "
            f"{listed(missing)}.",
            source,
        )
    return found


def load_each(
    refs: Mapping[str, AdapterRef],
    column: str,
    *,
    base: str | None = None,
    allow_base_mismatch: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    catalog: Catalog | None = None,
) -> EachModel:
    """Load the adapters of values on one base model.

    Args:
        refs: The adapter of each value, as :func:`versions_of` finds them.
        column: The column of the values.
        base: Where the base model is; default: where it was in training.
        allow_base_mismatch: As for :func:`~hubkit.predicting.many.load_many`.
        device: Where to compute, as for ``hubkit.load``.
        dtype: What the base model computes in, as for ``hubkit.load``.
        catalog: The registry; default: the user's.

    Raises:
        AdapterError: The adapters do not answer alike, or cannot share a base model in memory.
        HubkitError: As ``load_many``.
    """
    catalog = catalog or open_catalog()
    versions = {value: catalog.resolve(ref) for value, ref in refs.items()}
    kinds: dict[tuple[str | None, str | None], AdapterRef] = {}
    for version in versions.values():
        manifest = catalog.manifest(version)
        kinds.setdefault((manifest.task_type, manifest.problem_type), version.ref)
    if len(kinds) > 1:
        ways = ", ".join(f"{ref} for {' '.join(filter(None, k))}" for k, ref in kinds.items())
        raise AdapterError(f"The adapters of {column!r} answer in different ways: {ways}.")
    (((kind, _), first),) = kinds.items()
    names = [str(version.ref) for version in versions.values()]
    many = load_many(
        base,
        names,
        allow_base_mismatch=allow_base_mismatch,
        device=device,
        dtype=dtype,
        catalog=catalog,
    )
    return EachModel(many, task_type(kind, str(first)), column, versions)


def _trained_for(catalog: Catalog, ref: AdapterRef, value: str) -> AdapterRef:
    """An adapter of that name, unless it was trained for a value that looks alike.

    Raises:
        NotFoundError: There is none.
    """
    try:
        version = catalog.resolve(ref)
    except NotFoundError:
        raise RefNotFoundError(f"there is no {ref}", value) from None
    training = catalog.manifest(version).training
    other: Any = None if training is None else training.arguments.get("each")
    if other is not None and other["value"] != value:
        raise RefNotFoundError(f"{version.ref} is for {other['value']!r}", value)
    return version.ref


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    if len(numbers) == 1:
        return f"row {shown}"
    return f"rows {shown}" + (", ..." if len(numbers) > _SHOWN else "")
