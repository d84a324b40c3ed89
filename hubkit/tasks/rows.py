"""The rows of a data set, as a task type reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Rows:
    """Rows whose columns a task type has checked.

    Attributes:
        name: The name of the data: that of the file, or the data set's id.
        columns: The values by the names that the task type has for the columns. All have the same
            length.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, column: str) -> Sequence[Any]:
        return self.columns[column]

    def get(self, column: str) -> Sequence[Any] | None:
        """A column, or None where the rows have no such column."""
        return self.columns.get(column)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the rows in their order, the same for every file format."""
        digest = hashlib.sha256()
        for row in zip(*(self.columns[name] for name in self.columns), strict=True):
            digest.update(json.dumps(row, default=_content).encode() + b"\n")
        return digest.hexdigest()

    @property
    def dataset(self) -> str:
        """The name of the data in metrics, with a digest of exactly these rows."""
        return f"{self.name[-200:]}#{self.sha256[:12]}"

    def select(self, indices: Sequence[int]) -> Rows:
        """The rows at these positions, in this order."""
        chosen = {name: [values[i] for i in indices] for name, values in self.columns.items()}
        return Rows(self.name, chosen)

    def without(self, columns: Collection[str]) -> Rows:
        """The rows without these columns."""
        return Rows(self.name, {n: c for n, c in self.columns.items() if n not in columns})

    def keys(self, columns: Sequence[str]) -> Iterator[str]:
        """A text for each row that is equal where all of these columns are."""
        present = [self.columns[name] for name in columns if name in self.columns]
        return (json.dumps(row, default=_content) for row in zip(*present, strict=True))


def _content(value: Any) -> str:
    """What JSON has no form for, such as an image, is known by the digest of its content."""
    digest: str = value.sha256
    return digest
