"""Labelled text from a file or a data set id, checked before anything is trained on it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, load_dataset
from datasets.exceptions import DatasetsError
from datasets.utils.logging import disable_progress_bar
from sklearn.model_selection import train_test_split

from registry.errors import DataError, LabelError, did_you_mean

_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    # A text that reads "NA" is a text.
    ".csv": ("csv", {"keep_default_na": False}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".parquet": ("parquet", {}),
}
_VALIDATION_FRACTION = 0.2
_VALIDATION_MOST = 500
# What a manifest holds.
_LABEL_MOST = 256


@dataclass(frozen=True)
class LabelledText:
    """Texts with their labels.

    Attributes:
        name: What the data is called in metrics: the file's name, or the data set's id.
        texts: The texts, none of them empty.
        labels: The name of each text's label.
    """

    name: str
    texts: Sequence[str]
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def sha256(self) -> str:
        """SHA-256 over the rows in their order, the same for every file format."""
        digest = hashlib.sha256()
        for row in zip(self.texts, self.labels, strict=True):
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def label_ids(self, label_names: Sequence[str]) -> list[int]:
        """The position of each label in ``label_names``.

        Raises:
            LabelError: A label is none of these; the message counts its rows.
        """
        ids = {label: index for index, label in enumerate(label_names)}
        unknown = Counter(label for label in self.labels if label not in ids)
        if unknown:
            label, rows = unknown.most_common(1)[0]
            raise LabelError(
                f"{self.name} has the label {label!r} ({rows} of {len(self)} rows); expected one "
                f"of {', '.join(map(repr, label_names))}.{did_you_mean(label, label_names)}",
                label,
            )
        return [ids[label] for label in self.labels]

    def split(self, seed: int) -> tuple[LabelledText, LabelledText]:
        """Training and validation rows: a fifth, at most 500, with the labels in proportion.

        Raises:
            LabelError: A label has a single row.
        """
        rarest, rows = Counter(self.labels).most_common()[-1]
        if rows < 2:
            raise LabelError(
                f"{self.name} has a single row with the label {rarest!r}; at least two are needed, "
                "one to train on and one to validate with. Add rows, or pass --validation.",
                rarest,
            )
        size = min(_VALIDATION_MOST, int(len(self) * _VALIDATION_FRACTION))
        trained, held_out = train_test_split(
            range(len(self)),
            test_size=max(size, len(self.label_names)),
            random_state=seed,
            stratify=self.labels,
        )
        return self._rows(sorted(trained)), self._rows(sorted(held_out))

    def _rows(self, indices: Sequence[int]) -> LabelledText:
        return LabelledText(
            self.name, [self.texts[i] for i in indices], [self.labels[i] for i in indices]
        )


def read_labelled_text(
    source: str, *, split: str = "train", text_column: str = "text", label_column: str = "label"
) -> LabelledText:
    """Read labelled text.

    Args:
        source: A ``.csv``, ``.json``, ``.jsonl`` or ``.parquet`` file, or the id of a data set
            that ``datasets.load_dataset`` knows.
        split: The split of a data set id; a file has only one.
        text_column: Where the texts are.
        label_column: Where the labels are: names, or numbers that become names.

    Raises:
        DataError: There is no such data, it cannot be read, has no rows, lacks a column, or a row
            lacks its text or label.
    """
    dataset = _load(source, split, (text_column, label_column))
    for column, option in ((text_column, "--text-column"), (label_column, "--label-column")):
        if column not in dataset.column_names:
            raise DataError(
                f"{source} has no column {column!r}; it has {', '.join(dataset.column_names)}."
                f"{did_you_mean(column, dataset.column_names)} Name it with {option}.",
                source,
            )
    if len(dataset) == 0:
        raise DataError(f"{source} has no rows.", source)
    feature = dataset.features[label_column]
    texts, labels = dataset[text_column][:], dataset[label_column][:]
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f"{source}, row {number}: expected text in {text_column!r}, found {text!r}.", source
            )
        if not _is_label(label):
            raise DataError(
                f"{source}, row {number}: expected a label in {label_column!r} (one line of text, "
                f"at most {_LABEL_MOST} characters, or a whole number), found {label!r}.",
                source,
            )
    if isinstance(feature, ClassLabel):
        labels = [feature.int2str(label) for label in labels]
    return LabelledText(Path(source).name, texts, [str(label).strip() for label in labels])


def check_trainable(data: LabelledText) -> None:
    """Make sure that there is something to tell apart.

    Raises:
        LabelError: All rows have one label.
    """
    if len(data.label_names) < 2:
        raise LabelError(
            f"{data.name} has only the label {data.label_names[0]!r}; a classifier needs at least "
            "two. Check --label-column.",
            data.name,
        )


def _is_label(label: object) -> bool:
    if isinstance(label, str):
        return label.isprintable() and 0 < len(label.strip()) <= _LABEL_MOST
    return isinstance(label, int)


def _load(source: str, split: str, columns: tuple[str, str]) -> Dataset:
    disable_progress_bar()
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    try:
        if reader and path.is_file():
            if path.stat().st_size == 0:
                raise DataError(f"{source} is an empty file.", source)
            name, settings = reader
            if name == "csv":
                # As they are written: a label that reads "01" is not the number 1.
                settings = {**settings, "converters": dict.fromkeys(columns, str)}
            return load_dataset(name, data_files=str(path), split="train", **settings)
        if reader or path.exists():
            found = "does not exist"
            if path.exists():
                found = "is a folder" if path.is_dir() else f"has the ending {path.suffix!r}"
            raise DataError(
                f"{source} {found}; expected a {', '.join(_READERS)} file, or a data set id.",
                source,
            )
        return load_dataset(source, split=split)
    except DataError:
        raise
    except (DatasetsError, OSError, ValueError) as error:
        # datasets has no exception of its own for a header with nothing under it.
        if "corresponds to no data" in str(error):
            raise DataError(f"{source} has no rows.", source) from error
        raise DataError(
            f"{source} cannot be read: {_reason(error)} Expected a {', '.join(_READERS)} file with "
            "a text and a label column, or the id of a data set.",
            source,
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of ``error``."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
