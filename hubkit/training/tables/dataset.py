"""Read Parquet files, data sets by their ids, and the objects of datasets and pandas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hubkit.training.tables.table import BLOCK, SUFFIXES, Table, join, numbered, require_unique
from registry.errors import DataError
from registry.storage.place import Place

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


def read_parquet(path: Place, size: int, *, may_be_empty: bool = False) -> Iterator[Table]:
    """The rows of a Parquet file, in blocks of at most ``size`` rows.

    Args:
        path: The file.
        size: Rows of a block.
        may_be_empty: Whether a file without rows is a table without rows.

    Raises:
        DataError: The file cannot be read, or has no rows, or two columns of one name.
    """
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset

    source, start = str(path), 0
    try:
        # Buffering ahead would hold a whole group of rows, which may be the whole file.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            schema, names = file.schema_arrow, file.schema_arrow.names
            require_unique(names, source)
            maps = [name for name in names if pyarrow.types.is_map(schema.field(name).type)]
            for batch in file.iter_batches(batch_size=size):
                if not batch.num_rows:
                    continue
                whole = _with_lists(pyarrow.Table.from_batches([batch]), maps)
                (read,) = _of_dataset(Dataset(whole), path.name, source, size, start)
                mappings = {name: _mappings(read.columns[name]) for name in maps}
                yield replace(read, columns={**read.columns, **mappings})
                start += len(whole)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(f"{source} cannot be read as Parquet: {_reason(error)}", source) from error
    if not start and not may_be_empty:
        raise DataError(f"{source} has no rows.", source)
    if not start:
        yield Table(path.name, source, {name: [] for name in names}, [])


def read_id(text: str, split: str, size: int) -> Iterator[Table]:
    """The rows of a data set that its id names, in blocks of ``size`` rows.

    Raises:
        DataError: There is no such data set or split, or it cannot be read, or it has no rows.
    """
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetsError
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        loaded = load_dataset(text, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{text} cannot be read: {_reason(error)} Expected a {', '.join(SUFFIXES)} file, or "
            "the id of a data set.",
            text,
        ) from error
    assert isinstance(loaded, Dataset)
    return _of_dataset(loaded, text, text, size)


def read_object(source: Any) -> Table:
    """The rows of a ``datasets.Dataset`` or of a ``pandas.DataFrame``.

    Raises:
        DataError: It is something else, or has no rows, or two columns of one name.
    """
    from datasets import Dataset

    if isinstance(source, Dataset):
        name = source.info.dataset_name or "a data set"
        return join(_of_dataset(source, name, name, BLOCK))
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        name = "a data frame"
        names = [str(column) for column in source.columns]
        require_unique(names, name)
        if not len(source):
            raise DataError(f"{name} has no rows.", name)
        columns = {
            column: [_plain(value) for value in source.iloc[:, index].tolist()]
            for index, column in enumerate(names)
        }
        return Table(name, name, columns, numbered(len(source)))
    raise DataError(
        f"Expected the path of a file, the id of a data set, a datasets.Dataset or a "
        f"pandas.DataFrame, found {type(source).__name__}.",
        source,
    )


def _of_dataset(
    dataset: Dataset, name: str, source: str, size: int, before: int = 0
) -> Iterator[Table]:
    """Its rows; ``before`` is how many of the same source were read before."""
    from datasets import ClassLabel

    if not len(dataset):
        raise DataError(f"{source} has no rows.", source)
    for start in range(0, len(dataset), size):
        first, columns = before + start + 1, _block(dataset, start, size)
        for column, feature in dataset.features.items():
            inner = getattr(feature, "feature", None)
            kind = feature if isinstance(feature, ClassLabel) else inner
            if column in columns and isinstance(kind, ClassLabel):
                columns[column] = [
                    _class_names(value, kind.names, f"{source}, row {number}", column)
                    for number, value in enumerate(columns[column], start=first)
                ]
        yield Table(name, source, columns, numbered(min(size, len(dataset) - start), first))


def _block(dataset: Dataset, start: int, size: int) -> dict[str, list[Any]]:
    """Rows of a data set by column: what a transform makes of them, else as they are stored.

    A format, such as numpy's, is another look at the same values; it may hide columns.
    """
    end = min(start + size, len(dataset))
    if dataset.format["type"] == "custom":
        rows = [dataset[index] for index in range(start, end)]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [_plain(row.get(name)) for row in rows] for name in names}
    block = dataset.with_format("arrow", columns=dataset.format["columns"])[start:end]
    return {name: block.column(name).to_pylist() for name in block.column_names}


def _with_lists(table: pyarrow.Table, maps: Sequence[str]) -> pyarrow.Table:
    """The table with each map as the list of its entries: datasets reads no maps."""
    import pyarrow

    for name in maps:
        kind = table.schema.field(name).type
        entry = pyarrow.struct([("key", kind.key_type), ("value", kind.item_type)])
        column = table.column(name).cast(pyarrow.list_(entry))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _mappings(values: Sequence[Any]) -> list[dict[Any, Any] | None]:
    """Maps of lists of their entries."""
    return [
        None if entries is None else {one["key"]: one["value"] for one in entries}
        for entries in values
    ]


def _class_names(value: object, names: list[str], where: str, column: str) -> Any:
    """The name of a class, or of each in a list."""
    if isinstance(value, list):
        return [_class_name(one, names, where, column) for one in value]
    return _class_name(value, names, where, column)


def _class_name(value: object, names: list[str], where: str, column: str) -> str | None:
    if value is None or isinstance(value, str):  # which a transform may have made of it
        return value
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(
            f"{where}: expected a class of {column!r} from 0 to {len(names) - 1} "
            f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}), found {value!r}. -1 "
            "marks a row that has no label.",
            where,
            found=value,
        )
    return names[value]


def _plain(value: Any) -> Any:
    """A value of pandas or numpy as Python has it; a missing one as None."""
    if hasattr(value, "tolist") and not isinstance(value, str):
        value = value.tolist()
    # Python cannot tell whether pandas' NA differs from itself, and raises.
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    return value


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of an error of another library."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\s+", " ", str(error).strip().partition("\n")[0]) or type(error).__name__
    return text.rstrip(".") + "."
