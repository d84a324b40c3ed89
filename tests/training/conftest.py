"""Rows of texts with labels, in files of each kind; and short runs of training on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import PreTrainedModel, set_seed

from hubkit import attach
from hubkit.models.freeze import train_only
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.fit import Fit, fit
from hubkit.training.settings import Decided
from hubkit.training.start import Measured, Start
from registry.manifest import TextInfo
from tests.support.data import LabelledText, labelled_text
from tests.support.models import random_adapter, tiny_classifier, tokenizer
from tests.support.starts import start_with

ROWS = [('fine, "quoted"', "yes"), ("NA", "no"), ("two\nlines", "yes"), ("null", "nan")]


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)


def write(folder: Path, suffix: str, rows: Sequence[tuple[Any, Any]] = ROWS) -> Path:
    path = folder / f"data{suffix}"
    table = datasets.Dataset.from_dict(
        {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
    )
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        path.write_text("\n".join(lines) + "\n" if suffix == ".jsonl" else f"[{','.join(lines)}]")
    return path


LABELS = ("negative", "positive")
TASK = TASK_TYPES["text-classification"]
PLAN = TASK.fit_plan(labelled_text())


def settings(**changes: Any) -> Decided:
    values = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 8, "max_length": 16, "patience": 5}
    return Decided(**{**values, **changes})


def start(**changes: Any) -> PreTrainedModel:
    """A classifier with an adapter to train."""
    set_seed(0)
    model = tiny_classifier(pad_token_id=1, **changes)
    adapter = random_adapter(model)
    attach(model, adapter)
    train_only(model, adapter)
    return model


def train(
    model: PreTrainedModel, folder: Path, validation: LabelledText | None = None, **changes: Any
) -> Fit:
    data, held_out = halves()
    held_out = validation or held_out
    how = settings(**changes)
    return fit(started(model, how), measured(data), measured(held_out), how, folder)


def started(model: PreTrainedModel, how: Decided) -> Start:
    return start_with(model, how, TASK, labelled_text(24), tokenizer())


def halves() -> tuple[Rows, Rows]:
    data = labelled_text(24)
    return hold_out(data, data.labels, 0)


def measured(rows: Rows) -> Measured:
    return Measured(rows, TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=16)))


def evaluations(result: Fit) -> list[tuple[float, float]]:
    return [
        (entry["epoch"], entry["eval_loss"]) for entry in result.history if "eval_loss" in entry
    ]
