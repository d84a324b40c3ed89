"""Labelled texts that a tiny model can learn, and jobs to train on them."""

from __future__ import annotations

from typing import Any

from hubkit.training.data import LabelledText
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from registry import AdapterRef

GOOD = ("good", "great")
BAD = ("bad", "dull")
TEXTS = ["the film was good", "a very dull plot", "bad ball not good at all the", "great"]


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
