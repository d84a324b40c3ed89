"""Labelled texts that a tiny model can learn, and jobs to train on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubkit.tasks.rows import Rows
from hubkit.training.data import read_rows
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from registry import AdapterRef

GOOD = ("good", "great")
BAD = ("bad", "dull")
TEXTS = ["the film was good", "a very dull plot", "bad ball not good at all the", "great"]


class LabelledText(Rows):
    """Rows of text classification: the name of the data, its texts, and the label of each."""

    def __init__(self, name: str, texts: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__(name, {"text": texts, "label": labels})

    @property
    def texts(self) -> Sequence[str]:
        return self["text"]

    @property
    def labels(self) -> Sequence[str]:
        return self["label"]


def read_labelled_text(
    source: Any, *, text_column: str = "text", label_column: str = "label", **options: Any
) -> LabelledText:
    """Texts with one label each, read as rows of text classification."""
    from hubkit.tasks.text_classification import TEXT_CLASSIFICATION

    columns = {"text": text_column, "label": label_column}
    rows = read_rows(TEXT_CLASSIFICATION, source, columns=columns, **options)
    return LabelledText(rows.name, rows["text"], rows["label"])


def labelled_text(rows: int = 24, name: str = "films.csv") -> LabelledText:
    """Rows whose label is in one of their words."""
    texts, labels = [], []
    for row in range(rows):
        word = (*GOOD, *BAD)[row % 4]
        texts.append(f"the {('film', 'plot', 'ball')[row % 3]} was {'very ' * (row % 5)}{word}")
        labels.append("positive" if word in GOOD else "negative")
    return LabelledText(name, texts, labels)


def job(name: str, *, rows: int = 24, task: str = "sentiment", **settings: Any) -> Job:
    """A short training run."""
    values = {"epochs": 2, "learning_rate": 1e-2, "batch_size": 8, "max_length": 16, **settings}
    return Job(
        name=AdapterRef.parse(name),
        task=task,
        data=labelled_text(rows),
        validation=None,
        settings=Settings(**values),
    )
