"""What people on a terminal see of a run: a bar, and a line for each epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from registry.errors import TrainingError, did_you_mean


class EpochLines(ProgressCallback):
    """The stock bar, with a readable line above it for each epoch, in place of dicts."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the epoch, and what its validation gave."""
        super().on_evaluate(args, state, control, **kwargs)  # type: ignore[no-untyped-call]
        bar: Any = self.training_bar
        line = epoch_line(state.epoch or 0, state.num_train_epochs, metrics or {})
        bar.write(line, file=sys.stderr)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: what is logged, the line of the epoch says."""


def epoch_line(epoch: float, epochs: float, measured: Mapping[str, float]) -> str:
    """Return a sentence such as ``Epoch 3 of 20: loss 0.41, accuracy 0.821``.

    Args:
        epoch: How many are done.
        epochs: How many there are at most.
        measured: What the trainer measured on the validation rows, by its names: the loss, and the
            metrics of the task type, the one that sums them up first.
    """
    shown = [f"loss {measured['eval_loss']:.2f}"]
    own = [name for name in measured if name.startswith("eval_") and not is_cost(name)]
    if summary := next((name for name in own if name != "eval_loss"), None):
        shown.append(f"{summary.removeprefix('eval_')} {measured[summary]:.3f}")
    return f"Epoch {epoch:.0f} of {epochs:.0f}: {', '.join(shown)}"


def require_reporters(names: Sequence[str]) -> None:
    """Make sure that there is each of what a run is to be reported to.

    Args:
        names: As transformers calls them, such as ``tensorboard``.

    Raises:
        TrainingError: There is no such reporter, or its package is not installed.
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise TrainingError(
                f"There is no reporter {name!r}; there are {', '.join(known)}."
                f"{did_you_mean(name, known)}",
                name,
                given=name,
                expected=known,
            )
        if name not in get_available_reporting_integrations():  # type: ignore[no-untyped-call]
            raise TrainingError(
                f"Reporting to {name} needs the package {name.replace('_', '-')}, which is not "
                "installed.",
                name,
                given=name,
            )


def is_cost(name: str) -> bool:
    """Whether the trainer measures time by this name."""
    return name.endswith(("runtime", "per_second", "compilation_time"))
