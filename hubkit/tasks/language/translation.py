"""A text to the same in another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from hubkit.tasks.language.text2text import Text2Text, chrf
from registry.task_types import TASK_NAMES


class Translation(Text2Text):
    """As text to text, measured as translations are."""

    names = TASK_NAMES["translation"]
    example = "source,target\nGood morning.,Guten Morgen.\n"
    metrics_up = MappingProxyType({"chrf": True, "bleu": True})

    def compare(self, found: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
        """chrF (Popovic 2015) and BLEU (Papineni et al. 2002), as sacrebleu counts them."""
        from sacrebleu.metrics.bleu import BLEU  # slow to load

        bleu = BLEU().corpus_score(list(found), [list(expected)])
        return {"chrf": chrf(found, expected), "bleu": float(bleu.score)}

    def compare_each(
        self, found: Sequence[str], expected: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """Nothing: both are counted over all texts together."""
        return {}


TRANSLATION = Translation()
