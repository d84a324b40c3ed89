"""A text to the vector that stands for it, near to those of texts that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize
from transformers import (
    AutoModel,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hubkit.bases.pooling import Pooling, read_pooling
from hubkit.tasks.columns import Column, NotExpectedError, number, text
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import TextTask, encode_each, learned_places, tokens_read
from hubkit.tasks.text_regression import CORRELATIONS, can_correlate, correlations
from registry.arguments import checked
from registry.errors import DataError
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

SCALE = 20.0
"""Cosines are multiplied by this before they become probabilities, as in sentence-transformers."""


@dataclass(frozen=True)
class EmbeddingPrediction(Prediction):
    """The vector that stands for a text.

    Attributes:
        embedding: Its numbers, float32.
    """

    embedding: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """Its first numbers."""
        return (f"{' '.join(f'{x:.4f}' for x in self.embedding[:4])} ... ({len(self.embedding)})",)


@checked
def similarity(
    one: Sequence[EmbeddingPrediction], other: Sequence[EmbeddingPrediction]
) -> np.ndarray:
    """The cosine of each of some texts with each of others, from -1 to 1.

    Args:
        one: What ``predict`` said of some texts.
        other: What it said of others.

    Returns:
        *Shape:* ``(len(one), len(other))``, float32.
    """
    if not (one and other):
        return np.zeros((len(one), len(other)), np.float32)
    first, second = (
        _unit(np.array([p.embedding for p in side], np.float32)) for side in (one, other)
    )
    return np.asarray(first @ second.T)


def cosine(value: Any) -> float:
    """A number from -1 to 1."""
    found = number(value)
    if not -1 <= found <= 1:
        raise NotExpectedError(
            "a similarity from -1 to 1, such as a score from 0 to 5 divided by 5,"
        )
    return found


class FeatureExtraction(TextTask):
    """No head: the backbone's last vectors of a text's tokens are pooled to one.

    The base model says how, in the files of sentence-transformers (``modules.json``): by their
    mean, the first token, the maximum or the last token, and whether the vector gets the length 1.
    Without these files it is the mean. What was done in training is recorded.

    Training takes pairs. With a column ``score``, the cosine of a pair is brought to its score, by
    the squared error; so the score is from -1 to 1. Without one, ``text_pair`` belongs to ``text``,
    such as the answer to a question, and the texts of a batch's other pairs do not. The loss is the
    cross-entropy over all of them, with cosines times 20, as in M. Henderson et al.,
    *Efficient Natural Language Response Suggestion for Smart Reply*, 2017
    (https://arxiv.org/abs/1705.00652). A larger batch is then a harder task.
    """

    names = TASK_NAMES["feature-extraction"]
    columns = (
        Column("text", text),
        Column("text_pair", text, target=True, optional=True),
        Column("score", cosine, target=True, optional=True),
    )
    example = "text,text_pair,score\nA man sings.,Somebody sings.,0.9\n"
    metrics_up = MappingProxyType(
        {"spearman": True, "pearson": True, "mrr": True, "recall_at_1": True}
    )
    together = frozenset({"mrr", "recall_at_1"})
    shares_passes = False
    header = ("embedding",)

    @property
    def asked_and_answered(self) -> tuple[Sequence[str], Sequence[str]]:
        """A pair has one score; a text may have several pairs."""
        return ("text", "text_pair"), ("score",)

    def load_class(self, base: str) -> Any:
        """The backbone, without a pooler that nothing reads."""
        super().load_class(base)
        return _Backbone

    def load_processor(self, base: str, model: PreTrainedModel) -> PreTrainedTokenizerBase:
        """The tokenizer, which cuts where the base model's embeddings were made to."""
        tokenizer = super().load_processor(base, model)
        if limit := read_pooling(base).max_length:
            tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
        return tokenizer

    def prepare(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        plan: HeadPlan,
        info: TextInfo,
    ) -> None:
        """Let the model pool, and set how texts are padded."""
        found = read_pooling(processor.name_or_path)
        kind = info.pooling or found.kind
        unit = found.normalize if info.normalize is None else info.normalize
        model.add_module("hubkit_pooling", Pooling(kind, unit))
        super().prepare(processor, model, plan, info)

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """How texts are cut, and pooled."""
        pooling = read_pooling(processor.name_or_path)
        return (
            super()
            .text_info(processor, model, asked, rows)
            .model_copy(
                update={"pair": None, "pooling": pooling.kind, "normalize": pooling.normalize}
            )
        )

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """No head."""
        return HeadPlan()

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """No head, but pairs."""
        self.check(rows, HeadPlan())
        if "score" in rows and len(set(rows["score"])) < 2:
            raise DataError(
                f"{rows.name} has the score {rows['score'][0]:g} in each row; there is nothing to "
                "learn.",
                rows.name,
            )
        return HeadPlan()

    def check(self, rows: Rows, plan: HeadPlan) -> None:
        """Each text has its pair."""
        if "text_pair" not in rows:
            raise DataError(
                f"{rows.name} has no column text_pair; embeddings are learned and measured by "
                "pairs: texts that belong together, or pairs with a score.",
                rows.name,
                expected="text_pair",
            )

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row: lists with a value for each text. ``labels`` is the score."""
        sides = [rows[name] for name in ("text", "text_pair") if name in rows]
        found = [encode_each(processor, side, None, text) for side in sides]
        features: dict[str, list[Any]] = {
            name: [list(values) for values in zip(*(one[name] for one, _ in found), strict=True)]
            for name in found[0][0]
        }
        if "score" in rows:
            features["labels"] = list(rows["score"])
        lost = {at for _, cut in found for at in cut}
        limit = tokens_read(processor, text.max_length)
        return Encoded(features, range(len(rows)), len(lost), limit)

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches of all first texts, then all second ones."""
        return _Collator(DataCollatorWithPadding(processor))

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss of pairs, and embeddings of *shape* ``(rows, texts, width)``."""
        given = dict(inputs)
        scores, sides = given.pop("labels", None), int(given.pop("sides")[0])
        flat = self.one_pass(model, given)["embeddings"]
        found = flat.reshape(sides, -1, flat.shape[-1]).transpose(0, 1)
        if sides == 1:
            return None, (found,)
        first, second = found[:, 0], found[:, 1]
        if scores is not None:
            return mse_loss(cosine_similarity(first, second), scores.float()), (found,)
        cosines = normalize(first, dim=-1) @ normalize(second, dim=-1).T
        places = torch.arange(len(cosines), device=cosines.device)
        return cross_entropy(SCALE * cosines, places), (found,)

    def one_pass(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``embeddings``: the vectors of texts, *shape* ``(texts, width)``."""
        pool = next(module for module in model.modules() if isinstance(module, Pooling))
        hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        if learned_places(model):  # those before a text count, as in sentence-transformers
            own = mask.new_ones(len(mask), hidden.shape[1] - mask.shape[1])
            mask = torch.cat([own, mask], dim=1)
        return {"embeddings": pool(hidden, mask)}

    def loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The loss of pairs."""
        return self.run(model, inputs, self.options())[0]

    def divides(self, encoded: Encoded) -> bool:
        """Not where the other pairs of a batch are what a text does not belong to."""
        return "labels" in encoded.features

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The embeddings of the texts."""
        return [EmbeddingPrediction(tuple(row.tolist())) for row in outputs[0][:, 0]]

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """Correlations of cosines with the scores; else how well each text finds its own pair.

        Among the second texts of all rows: ``recall_at_1`` is how often it is the nearest, ``mrr``
        the mean of one over its place. Of equally near ones, its own comes last.
        """
        first, second = _sides(outputs)
        if "score" in rows:
            return correlations(rows["score"], (first * second).sum(-1))
        # Rows with the same second text have the same pair.
        texts, pair_of = np.unique(np.array(rows["text_pair"], dtype=object), return_inverse=True)
        vectors = np.stack([second[int((pair_of == at).argmax())] for at in range(len(texts))])
        cosines = first @ vectors.T
        places = rankdata(-cosines, method="max", axis=-1)[np.arange(len(first)), pair_of]
        return {
            "mrr": float((1 / places).mean()),
            "recall_at_1": float((places == 1).mean()),
        }

    def undefined(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> frozenset[str]:
        """The correlations, where all cosines or all scores are equal."""
        if "score" not in rows:
            return frozenset()
        first, second = _sides(outputs)
        found = (first * second).sum(-1)
        return frozenset(() if can_correlate(rows["score"], found) else CORRELATIONS)


class _Backbone:
    """Loads a model as ``AutoModel`` does, but leaves out a pooler that the files have none for."""

    @staticmethod
    def from_pretrained(base: str, **settings: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        """The model, and the report of how it was loaded."""
        model, report = AutoModel.from_pretrained(base, **settings)
        made = [name for name in report["missing_keys"] if name.startswith("pooler.")]
        if made:
            model.pooler = None
            report["missing_keys"] = set(report["missing_keys"]) - set(made)
        return model, report


@dataclass(frozen=True)
class _Collator:
    """Batches of rows with one text or two.

    Attributes:
        pad: Makes a batch of single texts.
    """

    pad: DataCollatorWithPadding

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The first texts of all rows, then the second ones; and ``sides``: how many a row has."""
        names = [name for name in features[0] if name != "labels"]
        sides = len(features[0]["input_ids"])
        flat = [
            {name: row[name][side] for name in names} for side in range(sides) for row in features
        ]
        batch = dict(self.pad(flat))
        batch["sides"] = torch.full((len(features),), sides)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in features])
        return batch


def _sides(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the two texts of each row, of length 1."""
    first, second = (_unit(outputs[0][:, side].astype(np.float64)) for side in (0, 1))
    return first, second


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; those without a direction stay as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths))


FEATURE_EXTRACTION = FeatureExtraction()
