"""Trainings that several processes do together; run as a module, each of them does it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubkit.tasks.rows import Rows
from hubkit.training.job import Job
from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, open_catalog
from tests.support.data import job, labelled_text

TEXTS = labelled_text(21).texts
PAIRS = [
    f"{text} {word}" for text, word in zip(TEXTS, ("good", "dull", "the ball") * 7, strict=True)
]
TAGS = [["O" if len(word) < 5 else "B-LONG" for word in text.split()] for text in TEXTS]


def rows(**columns: Any) -> Rows:
    """Rows of the columns."""
    return Rows("rows", columns)


# Batches that two do not share evenly, and a last one with a single row.
HOW: dict[str, Any] = {"batch_size": 5, "epochs": 2}

JOBS: dict[str, tuple[str, Job]] = {
    "plain": ("bert", job("plain", rows=26, **HOW)),
    "weighed": (
        "bert",
        job(
            "weighed",
            rows=26,
            **HOW,
            gradient_accumulation=3,
            class_weights={"positive": 3.0},
            gradient_checkpointing=True,
        ),
    ),
    "tags": (
        "bert",
        replace(
            job("tags", **HOW),
            task_type="token-classification",
            data=rows(tokens=[text.split() for text in TEXTS], tags=TAGS),
        ),
    ),
    "pairs": (
        "bert",
        replace(
            job("pairs", **HOW),
            task_type="feature-extraction",
            data=rows(text=TEXTS, text_pair=PAIRS),
        ),
    ),
    "words": (
        "gpt2",
        replace(
            job("words", **HOW), task_type="text-generation", data=rows(text=TEXTS), validation=0.2
        ),
    ),
}
"""The base model and the job of each adapter."""


def train_all(home: Path, bases: Path) -> None:
    """Train all of them, and a fusion in the upper layer, what is below it once for each row."""
    catalog = open_catalog(home)
    for base, one in JOBS.values():
        train_adapter(catalog, one, base=str(bases / base))
    refs = [AdapterRef.parse(name) for name in ("plain", "weighed")]
    above = job("fused", rows=26, **HOW, cache_trunk=10**9)
    train_fusion(catalog, above, refs=refs, leave_out=(0,))


if __name__ == "__main__":
    train_all(Path(sys.argv[1]), Path(sys.argv[2]))
