"""Choose on some rows how to train, then train on all of them.

Of few rows none can be given away: what is held out of 100 costs more than any setting brings. So
the rows that are held out choose the learning rate if there are several, and are measured; then all
rows are trained on from the start, to the end of the schedule. When to stop is nothing that a fifth
of so few rows can tell: by their loss, some runs end before they have learned anything. Of many
rows, the best run of those that left some out is kept as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hubkit.training.fit import Fit
from hubkit.training.settings import Decided
from registry.errors import DivergedError, ShortTrainingError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """A run to choose by.

    Attributes:
        settings: Its learning rate among them.
        result: What it gave; None if it diverged.
    """

    settings: Decided
    result: Fit | None

    @property
    def loss(self) -> float:
        """Of its best epoch, on the rows that were held out; 0 if there were none."""
        return float("inf") if self.result is None else self.result.metrics.get("loss", 0.0)


@dataclass(frozen=True)
class Outcome:
    """What was trained, and how that was chosen.

    Attributes:
        settings: The settings of the run that is kept.
        result: Its metrics, history and pictures are those of the rows that were held out; the
            model may hold what all rows were trained to since.
        tried: The validation loss of each learning rate, if there were several; None if it
            diverged.
        cut: How many of the rows are longer than what is read; None where nothing was read.
    """

    settings: Decided
    result: Fit
    tried: Mapping[str, float | None]
    cut: int | None = None


def best_of(trials: Sequence[Trial]) -> Trial:
    """The one with the lowest validation loss; of equal ones, the first.

    Raises:
        DivergedError: All of them diverged.
    """
    best = min(trials, key=lambda trial: trial.loss)
    if best.result is None:
        rates = ", ".join(str(trial.settings.learning_rate) for trial in trials)
        raise DivergedError(f"Training diverged at each learning rate: {rates}.", given=rates)
    return best


def try_out(
    settings: Decided,
    rates: Sequence[float],
    trained: Sequence[Tensor],
    fit: Callable[[Decided, str], Fit],
    fit_all: Callable[[float], Fit] | None,
) -> Outcome:
    """Try each learning rate, keep the best, and train on all rows if none is to be left out.

    Args:
        settings: All but the learning rate.
        rates: Those to try, one or more.
        trained: The parameters that are trained; each run begins with what they are now.
        fit: Trains on some rows, and measures the others, given a name for the run. It gives the
            same again if it is called again.
        fit_all: Trains on all rows, at a learning rate. None: some are left out.
    """
    initial = [one.detach().clone() for one in trained]
    trials: list[Trial] = []

    def run(one: Decided, name: str) -> Trial:
        _restore(trained, initial)
        try:
            return Trial(one, fit(one, name))
        except DivergedError:
            if len(rates) == 1:
                raise
            logger.warning("Training diverged at a learning rate of %s.", one.learning_rate)
            return Trial(one, None)

    for number, rate in enumerate(rates):
        trials.append(run(replace(settings, learning_rate=rate), f"{number + 1}"))
    best = best_of(trials)
    assert best.result is not None
    result = best.result
    seconds = sum(trial.result.seconds for trial in trials if trial.result is not None)
    if fit_all is not None:
        _restore(trained, initial)
        seconds += fit_all(best.settings.learning_rate).seconds
    elif best is not trials[-1]:
        result = run(best.settings, f"{trials.index(best) + 1}").result or result
    return Outcome(best.settings, replace(result, seconds=seconds), losses(trials))


def losses(trials: Sequence[Trial]) -> dict[str, float | None]:
    """The validation loss of each learning rate, if there were several; None if it diverged."""
    if len(trials) == 1:
        return {}
    return {
        str(one.settings.learning_rate): one.loss if one.result is not None else None
        for one in trials
    }


def note_short(results: Sequence[Fit], name: str) -> None:
    """Warn of runs that ended while their validation loss was still falling.

    Args:
        results: Of one run, or of many that were trained together.
        name: What they are called.
    """
    if short := sum(map(_still_fell, results)):
        steps = max(result.at_most for result in results)
        which = name if len(results) == 1 else f"{short} of the {len(results)} adapters of {name}"
        logger.warning(
            "The validation loss of %s was still falling when training was over, after %d steps.",
            *(which, steps),
            extra={"about": ShortTrainingError},
        )


_STILL_FALLS = 0.05
"""A run was too short if its loss fell by this part in its second half."""


def _still_fell(result: Fit) -> bool:
    losses = {one["step"]: one["eval_loss"] for one in result.history if "eval_loss" in one}
    if not losses or result.steps < result.at_most:
        return False
    before = [loss for step, loss in losses.items() if step <= result.at_most / 2]
    last = losses[max(losses)]
    return bool(before) and last < (1 - _STILL_FALLS) * min(before)


def _restore(trained: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(trained, values, strict=True):
            parameter.copy_(value)
            parameter.grad = None
