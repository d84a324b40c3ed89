"""What the stories of this folder share: options, training with defaults, baselines, a table."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The base models lie in folders: nothing is looked up on a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModel, AutoTokenizer

import hubkit
from hubkit.measuring.measure import evaluate
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.data import read_rows
from hubkit.training.job import Job
from hubkit.training.settings import ADAPTER_LEARNING_RATE, FUSION_LEARNING_RATE, Settings
from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, Version, open_catalog

console = Console(highlight=False)

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""What takes the dropout out of a BERT or one like it: up to two fifths of a step on a CPU."""


def story_options(output: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command with the options ``--data``, ``--output`` and ``--rows``.

    Args:
        output: The default folder for what is written.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        command = click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            required=True,
            help="The folder that the data sets lie in.",
        )(function)
        command = click.option(
            "--output",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path(output),
            show_default=True,
            help="Where the registry and the table go; an older registry there is replaced.",
        )(command)
        command = click.option(
            "--rows", type=click.IntRange(min=8), help="Read so many rows of each file at most."
        )(command)
        return click.command()(command)

    return decorate


class Story:
    """A registry of its own, and the table that the story ends in.

    Args:
        output: Where both go.
        rows: Rows of a file to read at most; None: all that the story asks for.
    """

    def __init__(self, output: Path, rows: int | None = None) -> None:
        shutil.rmtree(output / "registry", ignore_errors=True)
        self.output = output
        self.rows = rows
        self.catalog = open_catalog(output / "registry")
        self.started = time.monotonic()

    def read(self, task_type: str, path: Path, most: int | None = None, **how: Any) -> Rows:
        """The rows of a file, the first `most`, or all."""
        rows = read_rows(TASK_TYPES[task_type], path, **how)
        return self.first(rows, most)

    def first(self, rows: Rows, most: int | None = None) -> Rows:
        """The first rows; no more than the user asked for."""
        limits = [limit for limit in (most, self.rows) if limit is not None]
        return rows.select(range(min([len(rows), *limits])))

    def train(
        self,
        name: str,
        task_type: str,
        rows: Rows,
        validation: Rows | float | None,
        *,
        base: Path,
        method: str = "seq_bn",
        parameters: dict[str, Any] | None = None,
        over: AdapterRef | None = None,
        **settings: Any,
    ) -> Version:
        """Train an adapter, publish it, and say how long it took; `validation` is as in a job."""
        chosen = {"learning_rate": ADAPTER_LEARNING_RATE, **settings}
        job = _job(name, task_type, rows, validation, chosen)
        how: dict[str, Any] = {"base": str(base), "method": method, "over": over}
        return _timed(job, lambda: train_adapter(self.catalog, job, **how, **parameters or {}))

    def fuse(
        self, name: str, task_type: str, rows: Rows, refs: Sequence[AdapterRef], **settings: Any
    ) -> Version:
        """Train a fusion of published adapters, publish it, and say how long it took."""
        chosen = {"learning_rate": FUSION_LEARNING_RATE, **settings}
        job = _job(name, task_type, rows, None, chosen)
        return _timed(job, lambda: train_fusion(self.catalog, job, refs=refs))

    def measure(self, version: Version, rows: Rows) -> dict[str, float]:
        """The metrics of a published adapter."""
        return evaluate(hubkit.load(version.ref, catalog=self.catalog), rows)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the table, and write it as Markdown into the output folder."""
        shown = Table(title=title, title_justify="left")
        for index, name in enumerate(header):
            shown.add_column(name, justify="right" if index else "left")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
        lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
        with (self.output / "table.md").open("a", encoding="utf-8") as stream:
            stream.write("\n".join([f"{title}", "", *lines, "", ""]))

    def end(self) -> None:
        """Say how long all of it took."""
        console.print(f"All of it took {time.monotonic() - self.started:.0f} s.")


def _job(
    name: str, task_type: str, rows: Rows, validation: Rows | float | None, settings: dict[str, Any]
) -> Job:
    """A job whose task is called as its adapter is."""
    return Job(
        name=AdapterRef.parse(name),
        task=name,
        data=rows,
        validation=validation,
        task_type=task_type,
        settings=Settings(**settings),
    )


def _timed(job: Job, train: Callable[[], Version]) -> Version:
    """Run a training, and say how large its result is and how long it took."""
    started = time.monotonic()
    with console.status(f"Training {job.name} on {len(job.data)} rows ..."):
        version = train()
    console.print(
        f"  {version.ref}: {len(job.data)} rows, {version.size / 1e6:.1f} MB, "
        f"{time.monotonic() - started:.0f} s"
    )
    return version


def without_dropout(base: Path, folder: Path) -> Path:
    """The base model as it is, but without dropout, in a folder of its own."""
    AutoModel.from_pretrained(base, **NO_DROPOUT).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def word_features(
    base: Path, sentences: Sequence[Sequence[str]], batch_size: int = 64
) -> list[np.ndarray]:
    """What the frozen base model says of the first piece of each word.

    Returns:
        An array for each sentence. *Shape:* ``(words, hidden)``; zeros for a word that is cut off,
        or that the tokenizer leaves nothing of.
    """
    model = AutoModel.from_pretrained(base).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = []
    for start in range(0, len(sentences), batch_size):
        batch = tokenizer(
            [list(words) for words in sentences[start : start + batch_size]],
            is_split_into_words=True,
            padding=True,
            truncation=True,
            max_length=128,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = model(**batch).last_hidden_state.numpy()
        for index, state in enumerate(states):
            features = np.zeros((len(sentences[start + index]), state.shape[-1]), state.dtype)
            for at, word in reversed(list(enumerate(batch.word_ids(index)))):
                if word is not None:
                    features[word] = state[at]
            found.append(features)
    return found


def sentence_features(base: Path, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """The mean of what the frozen base model says of each token. *Shape:* ``(texts, hidden)``."""
    model = AutoModel.from_pretrained(base).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(
            list(texts[start : start + batch_size]),
            padding=True,
            truncation=True,
            max_length=128,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        found.append(((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)
