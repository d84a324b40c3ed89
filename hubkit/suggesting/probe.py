"""How well a linear map learns the targets of rows from a model's hidden states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.adapters.tree import Attachable
from hubkit.bases.load import load_model
from hubkit.comparing.folds import Fold
from hubkit.composition import Batch
from hubkit.models.attach import Attached, attach
from hubkit.models.place import device_of
from hubkit.nn.host import backbone
from hubkit.suggesting.learner import WAYS
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import TaskType, length_of
from registry.errors import FoldsError
from registry.manifest import TextInfo

ALPHAS = tuple(10.0**power for power in range(-3, 7))
"""The penalties that a ridge regression chooses from, by its leave-one-out error.

Features keep their scale: to scale up those that hardly vary would add noise.
"""

_PASS = 64
"""Rows of a forward pass at most, of all adapters together."""

Vectors = Sequence[np.ndarray]
"""The vectors of each fold, *shape* ``(own, d)``."""


@dataclass(frozen=True)
class Score:
    """How well a linear map does on the rows that it did not learn from.

    Attributes:
        folds: The metric on each fold.
        error: The mean squared error on all of them, over the variance of the targets.
    """

    folds: np.ndarray
    error: float

    @property
    def mean(self) -> float:
        """The metric, as a mean over the folds."""
        return float(self.folds.mean())

    def gain_over(self, other: Score) -> tuple[float, float]:
        """The mean difference to another score on the same folds, and its standard error."""
        gaps = self.folds - other.folds
        return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))


class Probe:
    """Rows in folds, and a base model that runs them with many adapters.

    Args:
        task: Its ``linear`` says what is learned from.
        rows: A sample, with what is to be learned.
        base: Where the base model is.
        folds: Each is predicted from the others.
        max_length: Tokens of a row at most; default: the task type's.
        device: Where to compute; default: the first CUDA GPU where there is one.

    Attributes:
        plan: What is to be learned of the rows.
        metric: What is measured; the first metric of the task type that the rows have.
    """

    def __init__(
        self,
        task: TaskType[Any],
        rows: Rows,
        base: str,
        *,
        folds: Sequence[Fold],
        max_length: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        assert task.linear is not None
        place = device_of(device)
        self._task, self._way = task, WAYS[task.linear]
        self.plan = task.fit_plan(rows)
        self._parts = [rows.select(fold.test) for fold in folds]
        model: PreTrainedModel = load_model(base, task.load_class(base), **self.plan.config())
        self._processor = task.load_processor(base, model)
        asked = TextInfo(max_length=max_length or task.max_length)
        task.prepare(self._processor, model, self.plan, asked)
        text = task.text_info(self._processor, model, asked, rows)
        self._encoded = [
            task.encode(self._processor, part, self.plan, text) for part in self._parts
        ]
        self._targets = [self._way.targets(one, self.plan) for one in self._encoded]
        counts = [len(one) for one in self._targets]
        if sum(counts) - max(counts) < 2:  # leave-one-out needs two
            raise FoldsError(
                f"{rows.name} has {sum(counts)} things to learn in {len(folds)} folds, which "
                "leaves fewer than two beside a fold.",
                given=len(folds),
                found=sum(counts),
            )
        model.requires_grad_(False)
        model.train(False)
        model.to(place)  # type: ignore[arg-type]
        self._model = model
        self.metric = ""

    def require_fit(self, name: str, adapter: Attachable) -> None:
        """Make sure that the base model can carry an adapter.

        Raises:
            HubkitError: It cannot.
        """
        with attach(self._model, Batch({name: adapter}), allow_base_mismatch=True):
            pass

    def of_base(self) -> Vectors:
        """The vectors of the rows from the base model without an adapter."""
        return self._vectors([None])[0]

    def of_adapters(self, adapters: Mapping[str, Attachable]) -> dict[str, Vectors]:
        """The vectors of the rows from the base model with each adapter, in mixed batches."""
        # They were compared with the base model when they were found.
        with attach(self._model, Batch(adapters), allow_base_mismatch=True) as attached:
            found = self._vectors([*adapters], attached)
        return dict(zip(adapters, found, strict=True))

    @torch.inference_mode()
    def _vectors(
        self, names: Sequence[str | None], attached: Attached | None = None
    ) -> list[Vectors]:
        """For each name, the vectors of each fold."""
        places = [(fold, at) for fold, one in enumerate(self._encoded) for at in range(len(one))]
        places.sort(key=lambda place: -self._length(*place))
        found: list[dict[tuple[int, int], np.ndarray]] = [{} for _ in names]
        collate = self._task.collator(self._processor, self._model)
        each = max(1, _PASS // len(names))
        for start in range(0, len(places), each):
            batch = places[start : start + each]
            inputs = collate([self._encoded[fold].feature(at) for fold, at in batch])
            once = {name: value.to(self._model.device) for name, value in inputs.items()}
            asked = {name: value for name, value in once.items() if name != "labels"}
            many = {
                name: value.repeat(len(names), *[1] * (value.ndim - 1))
                for name, value in asked.items()
            }
            states = self._states(many, names, attached)
            for own, of_one in zip(found, states.chunk(len(names)), strict=True):
                own.update(zip(batch, self._way.vectors(of_one, once), strict=True))
        return [
            [
                np.concatenate([own[fold, at] for at in range(len(one))])
                for fold, one in enumerate(self._encoded)
            ]
            for own in found
        ]

    def _length(self, fold: int, at: int) -> int:
        ids = self._encoded[fold].features.get("input_ids")
        return 0 if ids is None else length_of(ids[at])

    def _states(
        self,
        inputs: Mapping[str, Tensor],
        names: Sequence[str | None],
        attached: Attached | None,
    ) -> Tensor:
        """The last hidden states of a pass, in which each adapter has as many rows."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _arguments: Any, output: Any) -> None:
            caught.append(output[0])

        rows = max(map(len, inputs.values())) // len(names)
        hook = backbone(self._model).register_forward_hook(catch)
        try:
            with (
                nullcontext()
                if attached is None
                else attached.rows([name for name in names for _ in range(rows)])
            ):
                self._task.run(self._model, inputs, self._task.options())
        finally:
            hook.remove()
        return caught[0]

    def score(self, vectors: Vectors) -> Score:
        """Learn a ridge regression from all folds but one, and measure it there; for each fold."""
        metrics, missed = [], 0.0
        for fold, held_out in enumerate(vectors):
            others = [number for number in range(len(vectors)) if number != fold]
            learner = RidgeCV(alphas=ALPHAS)
            learner.fit(
                np.concatenate([vectors[number] for number in others]).astype(np.float64),
                np.concatenate([self._targets[number] for number in others]),
            )
            predicted = learner.predict(held_out.astype(np.float64)).reshape(len(held_out), -1)
            encoded = self._encoded[fold]
            missed += float(((predicted - self._targets[fold]) ** 2).sum())
            outputs = self._way.outputs(predicted, encoded)
            metrics.append(self._task.metrics(outputs, encoded, self._parts[fold], self.plan))
        self.metric = next(name for name in self._task.metrics_up if name in metrics[0])
        whole = np.concatenate(self._targets)
        spread = float(((whole - whole.mean(0)) ** 2).sum())
        return Score(np.array([one[self.metric] for one in metrics]), missed / spread)


def sample(task: TaskType[Any], rows: Rows, most: int, folds: int, seed: int) -> Rows:
    """Some of the rows, drawn with a seed: of each stratum in proportion, and enough for the folds.

    Of rows that ask the same, one is drawn.

    Args:
        task: Says what the strata are.
        rows: All rows.
        most: How many are wanted; rare strata may add some.
        folds: How many rows of each stratum are wanted at least.
        seed: The seed of the draw.
    """
    strata = task.strata(rows) or [""] * len(rows)
    keys = list(rows.keys(task.asked_and_answered[0]))
    left = {one: max(folds, most * n // len(rows)) for one, n in Counter(strata).items()}
    taken: dict[str, int] = {}
    for row in np.random.default_rng(seed).permutation(len(rows)).tolist():
        if left[strata[row]] and keys[row] not in taken:
            left[strata[row]] -= 1
            taken[keys[row]] = row
    return rows.select(sorted(taken.values()))
