"""Suggest donors: run every adapter of a base model over new rows, and ask what it would help."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from hubkit.adapters.load import load_published
from hubkit.adapters.tree import Attachable
from hubkit.bases.stored import cache_in, describe_stored
from hubkit.comparing.folds import folds_of
from hubkit.composing.combine import Chosen
from hubkit.suggesting.candidates import Skipped, find_candidates
from hubkit.suggesting.probe import Probe, Score, Vectors, sample
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES, task_type
from hubkit.tasks.task import TaskType
from registry import Catalog, Version
from registry.arguments import checked
from registry.errors import DataError, HubkitError, NoCandidateError, NoProbeError

logger = logging.getLogger(__name__)

ROWS = 500
"""Rows that the adapters are run over by default."""
FOLDS = 5
"""Parts of them that are each predicted from the others, likewise."""
MOST = 300
"""Adapters that are run, likewise."""

_TOGETHER = 8
"""Adapters that are in memory at once."""
_POOL = 12
"""The number of the best adapters that are tried beside the chosen donors."""


@dataclass(frozen=True)
class Suggestion:
    """An adapter, and how well a linear map of what it makes of the rows does.

    Attributes:
        version: The adapter.
        score: The metric on rows that the map did not learn from, as a mean over folds.
        gain: What the score is over that of the base model without an adapter.
        error: The standard error of the gain: how far the folds disagree.
        shared_labels: Those of its own labels that the rows have, too.
    """

    version: Version
    score: float
    gain: float
    error: float
    shared_labels: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """A donor, and what it adds to those before it.

    Attributes:
        version: The adapter.
        score: The metric with the vectors of all donors so far, side by side.
        gain: What the score is over that of the donors before it; of the first, of the base model.
        error: The standard error of the gain.
    """

    version: Version
    score: float
    gain: float
    error: float


@dataclass(frozen=True)
class Suggestions:
    """What was found for new rows.

    Attributes:
        task_type: How they work.
        metric: What the scores are, such as ``accuracy``.
        base_score: That of the base model without an adapter.
        rows: How many rows were run, at most.
        of_rows: How many there are.
        folds: In how many parts.
        ranked: The adapters that were run, the highest gain first.
        skipped: Those that could not be.
        left_out: How many were not tried, by the reason.
        taken: The donors that were asked for, the first taken first; empty if none were.
    """

    task_type: str
    metric: str
    base_score: float
    rows: int
    of_rows: int
    folds: int
    ranked: tuple[Suggestion, ...]
    skipped: tuple[Skipped, ...]
    left_out: Mapping[str, int]
    taken: tuple[Taken, ...] = ()


@checked
def suggest(
    catalog: Catalog,
    rows: Rows,
    *,
    base: str,
    task_type: str,
    take: int = 0,
    sample_rows: int = ROWS,
    folds: int = FOLDS,
    most: int = MOST,
    seed: int = 0,
    max_length: int | None = None,
    device: str | torch.device | None = None,
) -> Suggestions:
    """Rank the adapters on a base model by what they would help with new rows.

    Each is run over a sample of the rows, without its head. A ridge regression learns the labels
    from the last hidden states: the mean over the tokens of a row, those of each token that has a
    label, or the mean of each choice. It is measured on the folds that it did not learn from, with
    the metric of the task type. So the rows choose the donors, not the words of the registry (arXiv
    2601.21795). Adapters with an equal gain are in the order of the squared error.

    With ``take``, donors are taken one by one: first the best, then each time the one whose
    vectors, beside those taken, score highest. From the third on, it must gain more than its
    standard error. The best twelve are tried.

    Args:
        catalog: The registry.
        rows: Labelled rows of the task type.
        base: Where the base model is: a folder, or a hub id.
        task_type: How they work.
        take: Donors to take, at most; none if 0, else two or more.
        sample_rows: Rows to run, about.
        folds: Parts of them that are each predicted from the others.
        most: Adapters to run: those of the same task type and the latest come first.
        seed: The seed of the sample and the folds.
        max_length: Tokens of a row at most; default: the task type's.
        device: Where to compute; default: the first CUDA GPU where there is one.

    Raises:
        NoProbeError: Nothing can be learned so of rows of that task type.
        FoldsError: There are fewer different rows than folds, or fewer of a label.
        NoCandidateError: The registry has no adapter that can be run; or one, where donors are to
            be taken.
        DataError: A number is out of range, or the rows have nothing to learn.
        BaseModelNotFoundError: The base model cannot be loaded.
    """
    task = probed(task_type)
    if take == 1 or take < 0 or folds < 2 or sample_rows < folds or most < 1:
        raise DataError(
            f"Expected no donors or two at least, two folds, a row for each, and an adapter to "
            f"run; found {take} donors, {folds} folds, {sample_rows} rows and {most} adapters."
        )
    drawn = sample(task, rows, sample_rows, folds, seed)
    task.fit_plan(drawn)
    parts = folds_of(task, drawn, folds, seed)
    described = describe_stored(base, cache_in(catalog.home))
    candidates = find_candidates(catalog, described, task.name, most, {rows.sha256, drawn.sha256})
    probe = Probe(task, drawn, base, folds=parts, max_length=max_length, device=device)
    alone = probe.score(probe.of_base())
    skipped = [*candidates.skipped]
    scores: list[tuple[Chosen, Score]] = []
    by_name = {str(one.version.ref): one for one in candidates.chosen}
    for name, vectors in _run(catalog, probe, by_name, skipped):
        scores.append((by_name[name], probe.score(vectors)))
    for one in skipped:
        logger.warning("%s is skipped: %s", one.version.ref, one.reason)
    if len(scores) < max(1, min(take, 2)):
        raise NoCandidateError(
            f"Of {len(by_name)} adapters on {described.id}, {len(scores)} can be run; expected at "
            f"least {max(1, min(take, 2))}.",
            described.id,
        )
    gains = {one.version: score.gain_over(alone) for one, score in scores}
    scores.sort(key=lambda pair: (-gains[pair[0].version][0], pair[1].error))
    ranked = [
        Suggestion(one.version, score.mean, *gains[one.version], _shared(one, probe))
        for one, score in scores
    ]
    taken: Sequence[Taken] = ()
    if take:
        pool = {str(one.version.ref): one for one, _ in scores[:_POOL]}
        found = dict(_run(catalog, probe, pool, []))
        taken = _take(probe, {pool[name].version: own for name, own in found.items()}, alone, take)
    return Suggestions(
        task.name,
        probe.metric,
        alone.mean,
        len(drawn),
        len(rows),
        folds,
        tuple(ranked),
        tuple(skipped),
        candidates.left_out,
        tuple(taken),
    )


def probed(name: str) -> TaskType[Any]:
    """A task type of which adapters can be suggested.

    Raises:
        NoProbeError: It is another one.
    """
    task = task_type(name, "what is suggested for")
    if task.linear is None:
        able = [other.name for other in TASK_TYPES.values() if other.linear is not None]
        raise NoProbeError(
            f"For {name}, adapters cannot be suggested: a linear map learns labels, numbers or "
            f"choices. They can for {', '.join(able)}.",
            name,
            given=name,
            expected=able,
        )
    return task


def _run(
    catalog: Catalog, probe: Probe, chosen: Mapping[str, Chosen], skipped: list[Skipped]
) -> Iterator[tuple[str, Vectors]]:
    """The vectors of each adapter that can be run, a few adapters at a time.

    Args:
        skipped: The others are added to it.
    """
    names = [*chosen]
    # Shown on a terminal only, and only when there is something to wait for.
    with tqdm(total=len(names), unit="adapter", disable=None, delay=1, leave=False) as bar:
        for start in range(0, len(names), _TOGETHER):
            loaded: dict[str, Attachable] = {}
            group = names[start : start + _TOGETHER]
            for name in group:
                try:
                    adapter = load_published(catalog, *chosen[name]).composition
                    probe.require_fit(name, adapter)
                except HubkitError as error:
                    skipped.append(Skipped(chosen[name].version, str(error)))
                else:
                    loaded[name] = adapter
            if loaded:
                yield from probe.of_adapters(loaded).items()
            bar.update(len(group))


def _take(
    probe: Probe, pool: Mapping[Version, Vectors], alone: Score, most: int
) -> Sequence[Taken]:
    """Take donors one by one, as long as another one helps; `pool` has the best first."""
    taken: list[Taken] = []
    side_by_side: Vectors | None = None
    before, left = alone, dict(pool)
    while left and len(taken) < most:
        tried = []
        # The best by itself is known: it stands first.
        for version in [next(iter(left))] if side_by_side is None else [*left]:
            joined = _joined(side_by_side, left[version])
            tried.append((version, joined, probe.score(joined)))
        version, joined, score = min(tried, key=lambda one: (-one[2].mean, one[2].error))
        gain, error = score.gain_over(before)
        if len(taken) >= 2 and gain <= error:
            break
        taken.append(Taken(version, score.mean, gain, error))
        side_by_side, before = joined, score
        del left[version]
    return taken


def _joined(one: Vectors | None, other: Vectors) -> Vectors:
    """The vectors of each fold, side by side."""
    if one is None:
        return other
    return [np.concatenate(pair, axis=1) for pair in zip(one, other, strict=True)]


def _shared(one: Chosen, probe: Probe) -> tuple[str, ...]:
    return tuple(label for label in one.manifest.labels if label in probe.plan.labels)
