"""What people on a terminal see of a run: a bar, and a line an epoch."""

from __future__ import annotations

import sys
from typing import Any

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments


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
        line = epoch_line(state.epoch or 0, args.num_train_epochs, metrics or {})
        bar.write(line, file=sys.stderr)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: what is logged, the line of the epoch says."""


def epoch_line(epoch: float, epochs: float, metrics: dict[str, float]) -> str:
    """Return a sentence such as ``Epoch 3 of 20: loss 0.41, accuracy 82.1 %``.

    Args:
        epoch: How many are done.
        epochs: How many there are at most.
        metrics: What the trainer measured on the validation rows, by its names.
    """
    loss, accuracy = metrics["eval_loss"], metrics["eval_accuracy"]
    return f"Epoch {epoch:.0f} of {epochs:.0f}: loss {loss:.2f}, accuracy {accuracy:.1%}".replace(
        "%", " %"
    )
