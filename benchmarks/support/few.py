"""Few examples of a domain, drawn alike for each library. Knows of no library."""

from __future__ import annotations

import csv
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_LENGTH = 64


@dataclass(frozen=True)
class Few:
    """One run: some rows of a target, and what is fused for them.

    Attributes:
        target: The domain.
        seed: Of the draw, and of all training on it.
        base: The folder of the base model.
        data: The folder of the files ``DOMAIN.train.csv`` and ``DOMAIN.test.csv``.
        donors: The folder of each donor by its name, as AdapterHub's library writes them.
        rows: How many are drawn.
        epochs: Passes over them.
        device: ``cpu`` or ``cuda``.
    """

    target: str
    seed: int
    base: str
    data: str
    donors: dict[str, str]
    rows: int
    epochs: int
    device: str

    def drawn(self) -> tuple[list[str], list[str]]:
        """The rows to train on: texts and labels."""
        texts, labels = read(Path(self.data), self.target, "train")
        chosen = random.Random(self.seed).sample(range(len(texts)), self.rows)
        return [texts[row] for row in chosen], [labels[row] for row in chosen]

    def tested(self) -> tuple[list[str], list[str]]:
        """All rows to measure on."""
        return read(Path(self.data), self.target, "test")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read(folder: Path, domain: str, split: str) -> tuple[list[str], list[str]]:
    """The texts and labels of a file."""
    with (folder / f"{domain}.{split}.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [row["text"] for row in rows], [row["label"] for row in rows]
