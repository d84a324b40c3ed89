"""`hubkit train --each` against a run for each user: processor time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from transformers import AutoConfig

from hubkit.tasks.rows import Rows
from hubkit.training.each.train_each import train_each
from hubkit.training.job import Job
from hubkit.training.settings import CACHE_TRUNK, Settings
from hubkit.training.train import train_adapter
from registry import AdapterRef, open_catalog

ROWS = 24
EPOCHS = 5
ALONE = 5
"""Of the runs for each user, so many are measured."""

_WORDS = ("this film", "that meal", "our hotel", "my phone", "the staff", "their new song")
_GOOD, _BAD = ("was wonderful", "is great fun"), ("was a dull mess", "is broken again")


def each_seconds(name: str, users: int) -> dict[str, float]:
    """Processor seconds of a user, alone and together, and together over alone."""
    settings = Settings(epochs=EPOCHS, learning_rate=1e-3, patience=EPOCHS)
    jobs = [_job(number, settings) for number in range(users)]
    cached = replace(settings, cache_trunk=CACHE_TRUNK)
    dropped = tuple(range(AutoConfig.from_pretrained(name).num_hidden_layers // 2))
    half: dict[str, Any] = {"base": name, "leave_out": dropped}

    def alone(how: dict[str, Any], chosen: Settings) -> Callable[[Any], Any]:
        return lambda catalog: [
            train_adapter(catalog, replace(job, settings=chosen), **how) for job in jobs[:ALONE]
        ]

    def together(how: dict[str, Any], chosen: Settings) -> Callable[[Any], Any]:
        return lambda catalog: train_each(
            catalog, [replace(job, settings=chosen) for job in jobs], **how
        )

    whole: dict[str, Any] = {"base": name}
    spent = {
        "a run for each user, seconds a user": _spent(alone(whole, settings)) / ALONE,
        "together": _spent(together(whole, settings)) / users,
        "a run each, half dropped": _spent(alone(half, settings)) / ALONE,
        "together, half dropped and cached": _spent(together(half, cached)) / users,
    }
    usual, one, half_alone, both = spent.values()
    return spent | {
        "together over a run each": one / usual,
        "half dropped and cached over a run each": both / usual,
        "half dropped and cached over a run each of the same layers": both / half_alone,
    }


def _spent(work: Callable[[Any], Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        catalog = open_catalog(Path(folder, "home"))
        start = process_time()
        work(catalog)
        return process_time() - start


def _job(number: int, settings: Settings) -> Job:
    draw = torch.Generator().manual_seed(number)
    texts, labels = [], []
    for row in range(ROWS):
        first, end = torch.randint(0, len(_WORDS), (1,), generator=draw).item(), row % 4
        texts.append(f"{_WORDS[int(first)]} {(*_GOOD, *_BAD)[end]}, as I said {row} times")
        labels.append("good" if end < 2 else "bad")
    return Job(
        name=AdapterRef(None, f"user-{number}"),
        task="liking",
        data=Rows("users", {"text": texts, "label": labels}),
        settings=settings,
        part=("user", str(number)),
    )
