"""A text to a shorter one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from hubkit.tasks.language.text2text import Text2Text
from registry.task_types import TASK_NAMES

_METRICS = MappingProxyType({"rougeL": True, "rouge1": True, "rouge2": True})


class Summarization(Text2Text):
    """As text to text, measured as summaries are."""

    names = TASK_NAMES["summarization"]
    example = "source,target\nThe cat sat on the mat all day long.,A cat sat.\n"
    metrics_up = _METRICS

    def compare(self, found: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
        """The mean F1 of ROUGE (Lin 2004), as rouge-score counts it: of words of ASCII alone."""
        means = self.compare_each(found, expected)
        return {name: float(values.mean()) for name, values in means.items()}

    def compare_each(
        self, found: Sequence[str], expected: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """The same of each summary."""
        from rouge_score.rouge_scorer import RougeScorer  # slow to load

        scorer = RougeScorer([*_METRICS], use_stemmer=False)
        scores = [scorer.score(one, other) for one, other in zip(expected, found, strict=True)]
        return {name: np.array([row[name].fmeasure for row in scores]) for name in _METRICS}


SUMMARIZATION = Summarization()
