"""How to train, and the defaults. Loads no torch, so that the command line can show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from registry.arguments import check_fields
from registry.errors import TrainingError

ADAPTER_LEARNING_RATE = 1e-3
FUSION_LEARNING_RATE = 5e-4
FUSION_BATCH_SIZE = 32
MIX_LEARNING_RATE = 6e-3  # of ScaLearn's authors

SEEDS = 2**32
"""How many seeds NumPy takes, from 0."""

CACHE_TRUNK = 4_000_000_000
"""Bytes that what lies below the lowest trained layer may take on the disk."""

Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["no", "bf16", "fp16"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    What is None is decided by how many rows there are: see :mod:`hubkit.training.choosing.budget`.

    Attributes:
        epochs: Passes over the data, at most.
        steps: Steps, at most; whichever of the two comes first. Where one of them is given, it
            alone counts.
        learning_rate: At its highest. If there are several, each is tried, and the one with the
            lowest validation loss is kept.
        batch_size: Rows that are computed together.
        gradient_accumulation: Batches in a step.
        max_length: Tokens of a row; the rest is cut off, or read in another window. None: as many
            as are usual for the task type.
        target_max_length: Tokens of a text that is to be written; the rest is cut off. None: as
            ``max_length``.
        patience: Epochs without a better validation loss before training stops.
        warmup: Steps in which the learning rate rises to its highest; below 1, the part of all
            steps.
        schedule: The course of the learning rate from there: it falls to zero in a straight line or
            along a cosine, or stays.
        weight_decay: Of AdamW; biases and the weights of normalisations have none.
        class_weights: What the classes weigh in the loss: ``balanced``, in inverse proportion to
            how often they occur; or a weight for each class that weighs something other than 1.
            None: all weigh the same.
        gradient_checkpointing: Whether to compute activations again in the backward pass, which
            takes more time and less memory. The result is the same.
        precision: What the frozen model computes in, beside float32; ``no`` is float32 alone. None:
            what the base model is stored in. What is trained is always kept in float32.
        cache_trunk: The bytes on the disk that what lies below the lowest trained layer may take,
            which is then computed once for each row, without dropout. None: it is computed in every
            epoch, with the dropout of the base model.
        report_to: Where the course of training is reported, by transformers' names, such as
            ``tensorboard``.
        seed: The seed of every random generator.

    Raises:
        ArgumentError: One of them has another type, or is none of its choices.
        TrainingError: One of them is out of range.
    """

    epochs: int | None = None
    steps: int | None = None
    learning_rate: float | tuple[float, ...]
    batch_size: int | None = None
    gradient_accumulation: int = 1
    max_length: int | None = None
    target_max_length: int | None = None
    patience: int | None = None
    warmup: float = 0.0
    schedule: Schedule = "linear"
    weight_decay: float = 0.0
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    gradient_checkpointing: bool = False
    precision: Precision | None = None
    cache_trunk: int | None = None
    report_to: tuple[str, ...] = ()
    seed: int = 42

    def __post_init__(self) -> None:
        check_fields(self)
        for rate in self.learning_rates:
            if not (math.isfinite(rate) and rate > 0):
                raise TrainingError(
                    f"The learning rate must be a number over 0, not {rate}; "
                    f"{ADAPTER_LEARNING_RATE} is usual."
                )
        counts = ("epochs", "steps", "batch_size", "gradient_accumulation", "cache_trunk")
        for name in (*counts, "max_length", "target_max_length", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name} must be at least 1, not {value}.")
        for name in ("warmup", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise TrainingError(f"{name} must be a number of at least 0, not {value}.")
        if self.warmup > 1 and self.warmup != int(self.warmup):
            raise TrainingError(
                f"warmup must be a whole number of steps, or a part of all steps below 1, not "
                f"{self.warmup}."
            )
        if not 0 <= self.seed < SEEDS:
            raise TrainingError(f"seed must be from 0 to {SEEDS - 1}, not {self.seed}.")
        if isinstance(self.class_weights, Mapping):
            _require_weights(self.class_weights)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Those to try, each once."""
        given = self.learning_rate
        return tuple(dict.fromkeys(given if isinstance(given, tuple) else (given,)))


@dataclass(frozen=True, kw_only=True)
class Decided(Settings):
    """Settings of one run, which leave nothing to decide; ``epochs`` or ``steps`` is a number."""

    learning_rate: float
    batch_size: int
    patience: int


def _require_weights(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise TrainingError(
                f"The weight of the class {name!r} must be a number of at least 0, not {weight}.",
                name,
                given=weight,
            )
