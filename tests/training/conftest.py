"""Rows of texts with labels, in files of each kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

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
