"""Train what is to be trained in a model, at the rate and for as long as its rows choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accelerate.utils import extract_model_from_parallel

from hubkit.training.choosing.trials import Outcome, note_short, try_out
from hubkit.training.fit import Fit, fit
from hubkit.training.settings import Decided
from hubkit.training.start import Measured, Start, note_cut
from hubkit.training.trunk.cut import Cut


def learn(
    start: Start, checkpoints: Path, reports: Path | None = None, *, told: bool = True
) -> Outcome:
    """Train what is to be trained in the model on the rows; if that is nothing, do nothing.

    How is chosen as :func:`~hubkit.training.choosing.trials.try_out` does it.

    Args:
        start: The model, ready, and the rows.
        checkpoints: A folder for those of the first run, as :func:`~hubkit.training.fit.fit` takes
            it; those of further ones are beside it.
        reports: A folder for what the first run reports; those of further ones are in it.
        told: Whether people see how many rows are cut, and a line for each epoch.

    Raises:
        HubkitError: As ``fit``.
    """
    model, checked = start.model, start.checked
    if checked.settings.cache_trunk is not None:
        Cut(model)  # fail early: reading the rows may take long
    learned, measured = start.features()
    parts = [learned] if measured is None else [learned, measured]
    cut = sum(part.encoded.cut for part in parts)
    if told:
        note_cut(cut, sum(len(part.rows) for part in parts), start.text)
    trained = [one for one in model.parameters() if one.requires_grad]
    if not trained:
        return Outcome(checked.settings, Fit({}, [], 0.0, steps=0, at_most=0), {}, cut)

    def run(
        rows: Measured,
        validation: Measured | None,
        settings: Decided,
        name: str,
    ) -> Fit:
        is_first = name == "1"
        try:
            return fit(
                start,
                rows,
                validation,
                settings,
                checkpoints if is_first else checkpoints.with_name(f"{checkpoints.name}-{name}"),
                reports=reports if is_first or reports is None else reports / name,
                told=told,
            )
        finally:
            # Mixed precision wraps a model anew in each training.
            extract_model_from_parallel(model, keep_fp32_wrapper=False)
            model.train(False)

    def run_on_all(rate: float) -> Fit:
        last = checked.for_all(rate)
        return run(Measured(last.train, start.encode(last.train)), None, last.settings, "all")

    found = try_out(
        checked.settings,
        checked.rates,
        trained,
        lambda settings, name: run(learned, measured, settings, name),
        None if checked.whole is None else run_on_all,
    )
    if told:
        note_short([found.result], learned.rows.name)
    return replace(found, cut=cut)
