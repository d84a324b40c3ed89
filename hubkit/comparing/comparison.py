"""What a comparison found: a table, tests, a winner, and one sentence. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hubkit.measuring.significance import LEVEL, paired_test
from registry import Catalog, Manifest, Version
from registry.errors import HubkitError, TrainingError
from registry.folders.bounded import parse_json, read_bytes
from registry.storage.place import Copy

FILE_NAME = "comparison.json"
"""What the file is called in a version."""

CLOSE = 0.25
"""Standard errors of a difference within which two contenders are as good, and the cheaper wins.

With few rows, a whole one is several points: it gives away most of what a fusion gains.
"""

_MOST = 1_000_000
"""Bytes of the file; one with a hundred contenders has some ten thousand."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Outcome = Literal["helps", "hurts", "not shown"]
"""What the tests show of fusing: a gain, a loss, or neither."""


class Difference(_Record):
    """How a contender compares with another one.

    Attributes:
        mean: How much better it is; below zero: worse.
        p: How often chance alone gives a difference of that size, from 0 to 1.
    """

    mean: float
    p: float

    @property
    def better(self) -> bool:
        """Whether it is shown to be better."""
        return self.mean > 0 and self.p < LEVEL

    @property
    def worse(self) -> bool:
        """Whether it is shown to be worse."""
        return self.mean < 0 and self.p < LEVEL

    @property
    def words(self) -> str:
        """What is shown, before the name of the other one."""
        if self.worse:
            return "worse than"
        return "better than" if self.better else "not shown to be better than"


class Row(_Record):
    """A contender.

    Attributes:
        name: Its name.
        kind: Its kind.
        weights: How many numbers it adds to the base model, without the head.
        scores: By seed and fold; None where it is undefined, as a correlation of numbers all equal.
        mean: Of the scores; None if one of them is undefined that is defined for others.
        spread: Their standard deviation; None where there is none.
        brier: The mean Brier score of its calibrated probabilities, lower if better; None where an
            answer is no choice of one among several, or there is no mean.
        to_single: Compared with the best of the singles; None for that one, and if one of both has
            no mean.
        to_control: The same, compared with the fusion of random donors.
    """

    name: str
    kind: str
    weights: int
    scores: tuple[float | None, ...]
    mean: float | None
    spread: float | None
    brier: float | None = None
    to_single: Difference | None = None
    to_control: Difference | None = None

    @property
    def mean_text(self) -> str:
        """The mean, for people."""
        return "undefined" if self.mean is None else f"{self.mean:.4f}"

    @property
    def spread_text(self) -> str:
        """The spread, for people; empty where there is none."""
        return "" if self.spread is None else f"{self.spread:.4f}"

    def cells(self, by_brier: bool) -> tuple[str, ...]:
        """The row of a table for people: one cell for each of the comparison's columns."""
        tests = [
            cell
            for one in (self.to_single, self.to_control)
            for cell in (("", "") if one is None else (f"{one.mean:+.4f}", f"{one.p:.3f}"))
        ]
        brier = ("" if self.brier is None else f"{self.brier:.4f}",) if by_brier else ()
        return self.name, f"{self.weights:,}", self.mean_text, self.spread_text, *brier, *tests


class Comparison(_Record):
    """What a comparison found.

    Attributes:
        data: The name of the rows, and which exactly are meant by it.
        folds: How many.
        seeds: Those that were trained with.
        metric: What the scores are.
        higher_is_better: Which way they are better.
        paired_by: What the tests pair: ``row`` or ``fold``.
        random_donors: How those of the control are drawn.
        rows: The contenders.
        single: The name of the best single: the adapter alone, or a donor.
        best: The name of the best that can be published: by the Brier score where there is one,
            else by the mean.
        winner: The cheapest of those that are as good as the best.
        close: Within how many standard errors of the best that is; of old files, 1.
    """

    data: str
    folds: int
    seeds: tuple[int, ...]
    metric: str
    higher_is_better: bool
    paired_by: str
    random_donors: str
    rows: tuple[Row, ...] = Field(min_length=1)
    single: str
    best: str
    winner: str
    close: float = 1.0

    def row(self, name: str) -> Row:
        """The contender of that name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def outcome(self) -> Outcome:
        """Whether the fusion is shown to be better than both the best single and the control.

        It hurts if it is shown to be worse than one of them.
        """
        fusion = self.row("fusion")
        tested = (fusion.to_single, fusion.to_control)
        if any(one is not None and one.worse for one in tested):
            return "hurts"
        helps = all(one is not None and one.better for one in tested)
        return "helps" if helps else "not shown"

    @property
    def verdict(self) -> str:
        """One sentence: what is shown of fusing these donors."""
        fusion, said = self.row("fusion"), []
        what = "is not shown to help" if self.outcome == "not shown" else self.outcome
        if fusion.mean is None:
            return f"Fusing these donors {what}: the {self.metric} of the fusion is undefined."
        for name, difference in ((self.single, fusion.to_single), ("control", fusion.to_control)):
            if difference is None:
                said.append(f"not compared with {_spelled(name)}, of which it is undefined")
                continue
            chance = "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.3f}"
            said.append(
                f"{difference.words} {_spelled(name)} with {self.row(name).mean_text} ({chance})"
            )
        joined = f"{said[0]}, and {said[1]}"
        return f"Fusing these donors {what}: {self.metric} {fusion.mean_text} is {joined}."

    @property
    def too_few(self) -> str | None:
        """One sentence if these data could not show any difference; None otherwise."""
        pairs = sum(self._defined)
        # By chance, each pair may have either sign: of all combinations, two are as one-sided.
        least = 2 / 2**pairs
        if self.paired_by == "row" or least < LEVEL:
            return None
        return (
            f"No difference could be shown: with {pairs} paired scores ({self.folds} folds, "
            f"{len(self.seeds)} {'seed' if len(self.seeds) == 1 else 'seeds'}), p is at least "
            f"{least:.4g}. At least 6 are needed."
        )

    @property
    def left_out(self) -> str | None:
        """One sentence if some folds have no score of any contender; None otherwise."""
        missing = len(self._defined) - sum(self._defined)
        if not missing:
            return None
        return (
            f"Of {len(self._defined)} scores of each, {missing} {'is' if missing == 1 else 'are'} "
            f"left out: there, the {self.metric} of all contenders is undefined."
        )

    @property
    def _defined(self) -> list[bool]:
        """Whether any contender has a score, by seed and fold."""
        by_fold = zip(*(row.scores for row in self.rows), strict=True)
        return [any(score is not None for score in fold) for fold in by_fold]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header of a table for people."""
        tests = (f"to {self.single}", "p", "to control", "p")
        brier = ("Brier",) if self._by_brier else ()
        return "contender", "weights", self.metric, "spread", *brier, *tests

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """The rows of a table for people."""
        return [row.cells(self._by_brier) for row in self.rows]

    @property
    def _by_brier(self) -> bool:
        return any(row.brier is not None for row in self.rows)

    @property
    def choice(self) -> str:
        """One sentence: which contender wins, and why."""
        winner, near = _spelled(self.winner), f"within {self.close:g} standard errors of"
        brier = self.row(self.best).brier
        best = "the best" if brier is None else f"the best by its Brier score of {brier:.4f}"
        if self.winner == self.best:
            return f"The winner is {winner}, {best}; nothing cheaper is {near} it."
        if brier is not None:
            best = f"the best by the Brier score, with {brier:.4f}"
        return f"The winner is {winner}, the cheapest {near} {_spelled(self.best)}, {best}."

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it says, for people: the verdict first."""
        said = (self.verdict, self.too_few, self.left_out, self.choice)
        return tuple(one for one in said if one is not None)

    def to_json(self) -> bytes:
        """The content of the file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def _spelled(name: str) -> str:
    return {"alone": "the adapter alone", "control": "the control of random donors"}.get(
        name, f"the {name}" if name in ("base model", "mix", "learned mix", "fusion") else name
    )


def comparison_in(catalog: Catalog, version: Version, manifest: Manifest) -> Comparison | None:
    """The comparison that a version won, from its files; None if there is none to be read."""
    if FILE_NAME not in manifest.files:
        return None
    try:
        folder = Copy(catalog.folder(version, manifest), str(version.ref))
        found = Comparison.model_validate(parse_json(read_bytes(folder / FILE_NAME, _MOST)))
        names = {row.name for row in found.rows}
        scores = {len(row.scores) for row in found.rows}
    except (HubkitError, OSError, ValueError, ValidationError):
        return None  # of another make: it is a file like any other
    whole = names >= {found.single, found.best, found.winner, "fusion", "control"}
    return found if whole and len(scores) == 1 else None


def compared(
    facts: Mapping[str, Any],
    contenders: Sequence[tuple[str, str, int]],
    scores: Mapping[str, Sequence[float | None]],
    units: Mapping[str, Sequence[float | None]],
    briers: Mapping[str, Sequence[float]] | None = None,
) -> Comparison:
    """Test the scores, and choose.

    Args:
        facts: Fields of the comparison that are known already.
        contenders: Name, kind and weights of each.
        scores: The scores of each contender, by seed and fold; None or NaN where it is undefined.
        units: Of each contender, what the tests pair: a number for each row or for each fold,
            higher or lower as the metric is; the same where it takes no part.
        briers: The Brier score of each row, of each contender that has a mean; None: the means
            choose.

    Raises:
        TrainingError: No contender that can be published has a score.
    """
    import numpy as np

    sign = 1.0 if facts["higher_is_better"] else -1.0
    oriented = {name: sign * np.array(values, dtype=float) for name, values in units.items()}
    numbers = {name: np.array(values, dtype=float) for name, values in scores.items()}
    # Where a fold tells nothing of anybody, it counts for nobody.
    telling = np.isfinite(np.stack([*numbers.values()])).any(axis=0)
    counted = {name: values[telling] for name, values in numbers.items() if telling.any()}
    means = {
        name: sign * float(values.mean())
        for name, values in counted.items()
        if np.isfinite(values).all()
    }
    kinds = {name: kind for name, kind, _ in contenders}
    costs = {name: weights for name, _, weights in contenders}
    singles = [name for name in kinds if kinds[name] in ("alone", "donor")]
    single = max(singles, key=lambda name: means.get(name, -np.inf))
    able = [name for name in means if kinds[name] not in ("base", "control")]
    if not able:
        raise TrainingError(
            f"No contender that could be published has a {facts['metric']} in each fold: training "
            "diverged, or all that it answers is equal. Nothing is published.",
        )
    # Of a probability, a row tells more than of what is right or wrong.
    sure = {name: -np.array((briers or {}).get(name, ()), dtype=float) for name in means}
    by_brier = all(len(sure[name]) for name in able)
    chosen_by = {name: float(sure[name].mean()) for name in able} if by_brier else means
    compared_by = sure if by_brier else oriented
    best, winner = best_and_winner(chosen_by, costs, {name: compared_by[name] for name in able})

    def difference(name: str, other: str) -> Difference | None:
        if name == other or not {name, other} <= means.keys():
            return None
        return _difference(oriented[name], oriented[other])

    return Comparison(
        **facts,
        rows=tuple(
            Row(
                name=name,
                kind=kind,
                weights=weights,
                scores=tuple(None if np.isnan(one) else float(one) for one in numbers[name]),
                mean=sign * means[name] if name in means else None,
                spread=(
                    float(np.std(counted[name], ddof=1))
                    if name in means and len(counted[name]) > 1
                    else None
                ),
                brier=-float(sure[name].mean()) if by_brier and len(sure.get(name, ())) else None,
                to_single=difference(name, single),
                to_control=difference(name, "control"),
            )
            for name, kind, weights in contenders
        ),
        single=single,
        best=best,
        winner=winner,
        close=CLOSE,
    )


def _difference(one: Any, other: Any) -> Difference:
    """How much better the first is, and how often chance alone gives that."""
    import numpy as np

    both = np.isfinite(one) & np.isfinite(other)
    apart = (one - other)[both]
    if not apart.any():
        return Difference(mean=0.0, p=1.0)
    p = paired_test(other[both], one[both])[0] if len(apart) > 1 else 1.0
    return Difference(mean=float(apart.mean()), p=p)


def best_and_winner(
    means: Mapping[str, float],
    costs: Mapping[str, float],
    units: Mapping[str, Any],
    errors: float = CLOSE,
) -> tuple[str, str]:
    """The best contender, and the cheapest of those that are as good as it.

    Args:
        means: The score of each, higher if better.
        costs: What each costs.
        units: An array for each that can win: what is paired, higher if better; NaN for nothing.
        errors: How many standard errors of the paired difference from the best still count as none.
    """
    import numpy as np
    from scipy.stats import sem

    def is_close(name: str) -> bool:
        apart = units[best] - units[name]
        apart = apart[np.isfinite(apart)]
        error = sem(apart) if len(apart) > 1 else 0.0
        # Both sides are equal, but for rounding, where a single row differs.
        return bool(apart.mean() <= errors * error * (1 + 1e-9))

    best = max(units, key=lambda name: (means[name], -costs[name]))
    winner = min(filter(is_close, units), key=lambda name: (costs[name], -means[name]))
    return best, winner
