"""All that one adapter goes through in a place of the model, as in a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hubkit.models.attach import Attached
from hubkit.training.check import Checked
from hubkit.training.choosing.trials import Outcome, Trial, best_of, losses
from hubkit.training.each.course import Course, Slot
from hubkit.training.each.mixed import Asked
from hubkit.training.fit import Fit
from hubkit.training.start import Start
from registry.errors import DivergedError


class EachTraining:
    """A course for each learning rate, and one on all rows if none is to be left out.

    The same choice as :func:`hubkit.training.choosing.trials.try_out` makes, for an adapter that
    shares passes with others.

    Attributes:
        slot: Where its adapter is.
        start: Its rows, and the base model.
        course: The one that is under way; at the end, the one that is kept.
        found: What was trained, and how that was chosen; None until the end, and if it diverged.
        rows: How many rows it reads, those to validate with among them.
        cut: How many of them are longer than what is read.

    Args:
        start: Its rows, and the base model.
        slot: Where its adapter is.
        attached: The adapters in the model.
        head: The initial weights of what is trained beside it.
        folder: For what the trainer may write.
        share: Called with each course before it begins.
    """

    def __init__(
        self,
        start: Start,
        slot: Slot,
        attached: Attached,
        head: Mapping[str, Tensor],
        folder: Path,
        share: Callable[[Course], None],
    ) -> None:
        self.start = start
        self.slot = slot
        self.found: Outcome | None = None
        self._make = partial(Course, slot=slot, attached=attached, head=head, folder=folder)
        self._share = share
        rates = start.checked.rates
        self._runs = [replace(start.checked.settings, learning_rate=rate) for rate in rates]
        self.course = self._course(replace(start.checked, settings=self._runs[0]))
        self.rows, self.cut = self.course.rows, self.course.cut

    def steps(self) -> Generator[Asked, float, None]:
        """Yield the batches one by one. The caller sends back the loss of each after its backward
        pass.
        """
        checked = self.start.checked
        trials: list[Trial] = []
        kept: list[tuple[Course, list[Tensor]]] = []
        for settings in self._runs:
            if trials:
                self.course = self._course(replace(checked, settings=settings))
            yield from self.course.steps()
            trials.append(Trial(settings, _result(self.course)))
            kept.append((self.course, [one.detach().clone() for one in self.slot.parameters]))
        try:
            best = best_of(trials)
        except DivergedError:
            return
        assert best.result is not None
        seconds = sum(trial.result.seconds for trial in trials if trial.result is not None)
        if checked.whole is None:
            self.course, weights = kept[trials.index(best)]
            with torch.no_grad():
                for parameter, value in zip(self.slot.parameters, weights, strict=True):
                    parameter.copy_(value)
        else:
            self.course = self._course(checked.for_all(best.settings.learning_rate))
            yield from self.course.steps()
            if (result := _result(self.course)) is None:
                return
            seconds += result.seconds
        result = replace(best.result, seconds=seconds)
        self.found = Outcome(best.settings, result, losses(trials), self.cut)

    def _course(self, checked: Checked) -> Course:
        course = self._make(start=replace(self.start, checked=checked))
        self._share(course)
        return course


def _result(course: Course) -> Fit | None:
    try:
        return course.result()
    except DivergedError:
        return None
