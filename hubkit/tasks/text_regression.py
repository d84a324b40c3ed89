"""A text, or a pair of texts, to a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.stats import pearsonr, spearmanr
from transformers import PreTrainedTokenizerBase

from hubkit import plots
from hubkit.tasks.columns import Column, number, text
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import TextTask, encode_texts, tokens_read
from registry.errors import AdapterError, DataError
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

CORRELATIONS = ("pearson", "spearman")
_ROUNDED = 8 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class NumberPrediction(Prediction):
    """The number that a text gets.

    Attributes:
        score: In the unit of the training data.
    """

    score: float

    def cells(self) -> tuple[str, ...]:
        """The number."""
        return (f"{self.score:.4f}",)


class TextRegression(TextTask):
    """The head has one output, trained with the squared error."""

    names = TASK_NAMES["text-regression"]
    columns = (
        Column("text", text),
        Column("text_pair", text, optional=True),
        Column("score", number, target=True),
    )
    example = "text,text_pair,score\nA man sings.,Somebody sings.,4.2\n"
    metrics_up = MappingProxyType({"pearson": True, "spearman": True, "mae": False})
    header = ("score",)
    one_vector_a_row = True
    linear = "rows"

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """One output, also where the manifest does not tell how many there are."""
        if manifest.outputs not in (None, 1):
            raise AdapterError(
                f"A head for text-regression has one output; this one has {manifest.outputs}."
            )
        return HeadPlan(1, (), "regression")

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """One output."""
        if len(set(rows["score"])) < 2:
            raise DataError(
                f"{rows.name} has the score {rows['score'][0]:g} in each row; there is nothing to "
                "learn.",
                rows.name,
            )
        return HeadPlan(1, (), "regression")

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row; ``labels`` is its number."""
        encoded, cut = encode_texts(processor, rows["text"], rows.get("text_pair"), text)
        features = dict(encoded)
        if "score" in rows:
            features["labels"] = list(rows["score"])
        return Encoded(features, range(len(rows)), cut, tokens_read(processor, text.max_length))

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The output as it is."""
        return [NumberPrediction(float(value)) for value in _numbers(outputs)]

    def pictures(self, plan: HeadPlan) -> Mapping[str, Callable[[Outputs, Encoded, Rows], bytes]]:
        """Each row's number, and the one that was predicted."""

        def draw(outputs: Outputs, encoded: Encoded, rows: Rows) -> bytes:
            return plots.scatter(rows["score"], _numbers(outputs).tolist())

        return {"scatter.png": draw}

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """Pearson's and Spearman's correlation, 0 where there is none, and the mean error."""
        expected, found = rows["score"], _numbers(outputs)
        error = float(np.abs(np.array(expected) - found).mean())
        return {**correlations(expected, found), "mae": error}

    def undefined(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> frozenset[str]:
        """The correlations, where all numbers are equal."""
        return frozenset(() if can_correlate(rows["score"], _numbers(outputs)) else CORRELATIONS)

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """How far off each number is."""
        return {"mae": np.abs(np.array(rows["score"]) - _numbers(outputs))}


def correlations(expected: Sequence[float], found: np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's correlation; 0 where there is none, as of numbers all equal."""
    if not can_correlate(expected, found):
        return dict.fromkeys(CORRELATIONS, 0.0)
    numbers = np.array(expected)
    return {
        "pearson": float(pearsonr(numbers, found)[0]),
        "spearman": float(spearmanr(numbers, found)[0]),
    }


def can_correlate(expected: Sequence[float], found: np.ndarray) -> bool:
    """Whether there are different numbers on both sides.

    Args:
        expected: What is right.
        found: What a model gave, in float32: what it rounds alone makes no difference.
    """
    largest, apart = float(np.abs(found).max(initial=0)), float(np.ptp(found)) if len(found) else 0
    return len(set(expected)) > 1 and apart > _ROUNDED * largest


def _numbers(outputs: Outputs) -> np.ndarray:
    return outputs[0].reshape(len(outputs[0])).astype(np.float64)


TEXT_REGRESSION = TextRegression()
