"""A query and candidates, to the candidates in the order of how well they fit the query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import ndcg_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.columns import (
    Column,
    NotAlignedError,
    NotExpectedError,
    listed,
    number,
    text,
)
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import TextTask, encode_each, tokens_read, words
from registry.errors import AdapterError, DataError
from registry.labels import as_seen
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

PLACES = 10
"""The number of first places that nDCG and the hit rate look at."""


@dataclass(frozen=True)
class RankingPrediction(Prediction):
    """The candidates of one query, the best first.

    Attributes:
        candidates: Their texts.
        indices: Their positions in what was given, from 0.
        scores: How well they fit, from 0 to 1: the sigmoid of the head's output.
    """

    candidates: tuple[str, ...]
    indices: tuple[int, ...]
    scores: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """The candidates, as a JSON list because anything may stand in them, and their scores."""
        listed = json.dumps(self.candidates, ensure_ascii=False)
        return listed, ", ".join(f"{score:.4f}" for score in self.scores)


def query(value: Any) -> str:
    """Text, or a whole number that stands for someone, such as a user."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)


def candidates(value: Any) -> list[str]:
    """Texts: a list, or a JSON list as text; or the text of a single one."""
    found = listed(value)
    if isinstance(found, str):
        return [text(found)]
    if not isinstance(found, list | tuple) or not found:
        raise NotExpectedError("a text, or a list of texts")
    texts = [text(one) for one in found]
    if len(set(map(as_seen, texts))) < len(texts):
        raise NotExpectedError("a text, or a list of texts, each of them once")
    return texts


def relevance(value: Any) -> list[float]:
    """Numbers from 0 to 1: a list, or a JSON list as text; or a single one."""
    found = listed(value)
    grades = [number(one) for one in (found if isinstance(found, list | tuple) else [found])]
    if not all(0 <= grade <= 1 for grade in grades):
        raise NotExpectedError(
            "a relevance from 0 (does not fit) to 1 (fits best); ratings have to be brought there, "
            "such as 1 for liked and 0 for not liked,"
        )
    return grades


class Ranking(TextTask):
    """A cross-encoder: the query and a candidate are read together, and get one number.

    A row of a table has a list of candidates and a relevance for each, or a single candidate, such
    as an item that a user rated. Rows with one query are taken together; the query may be a user's
    history, or no more than a name. A relevance of 0 says that a candidate does not fit, anything
    above that it does, and how well, up to 1. Ratings, which are all above 0, first have to be
    divided into liked and not liked.

    Training is pointwise: each pair counts for itself, with the binary cross-entropy to its
    relevance, as in R. Nogueira and K. Cho, *Passage Re-ranking with BERT*, 2019
    (https://arxiv.org/abs/1901.04085). A batch then has as many pairs as it says, however long the
    lists are. And an adapter for one user, with a single list, still has several steps in an epoch;
    a loss over whole lists would give it one.

    Metrics are means over queries, whose lists may be of any length:

    - ``ndcg_at_10``: as scikit-learn's ``ndcg_score``: linear gains, ties averaged; 0 for a query
      without a relevant candidate, as there. A single candidate has one order: 1 if it is relevant.
    - ``mrr``: one over the place of the first relevant candidate; 0 where there is none, as
      trec_eval has it. Of candidates with one score, those that are not relevant come first, so
      that an adapter that tells nothing apart gains nothing from how a file is sorted.
    - ``hit_rate_at_10``: whether a relevant candidate is among the first ten, counted the same way.
    - ``auc``: the area under the ROC curve, over the queries that have candidates of both kinds:
      for the others there is none. It is left out where no query has both.
    """

    names = TASK_NAMES["ranking"]
    columns = (
        Column("query", query, given=query),
        Column("candidates", candidates, given=candidates),
        Column("relevance", relevance, target=True),
    )
    example = "query,candidates,relevance\nfun for children,Toy Story,1\nfun for children,Alien,0\n"
    metrics_up = MappingProxyType(
        {"ndcg_at_10": True, "mrr": True, "hit_rate_at_10": True, "auc": True}
    )
    header = ("candidates", "scores")
    groups = True
    always_pairs = True
    linear = "rows"

    def aligned(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """A row for each query, in the order in which they first occur.

        A query that differs in a column of another name, such as whose query it is, is another one.
        """
        graded = "relevance" in columns
        own = {column.name for column in self.columns}
        others = {name: values for name, values in columns.items() if name not in own}
        groups: dict[Any, dict[str, float]] = {}
        known: dict[Any, set[str]] = {}
        first: dict[Any, tuple[Any, ...]] = {}  # the row that a group begins with
        for row, values in enumerate(
            zip(columns["query"], columns["candidates"], *others.values(), strict=True)
        ):
            asked, among, *beside = values
            if not (asked and among):  # rows for `predict` that say nothing keep a place
                groups[row], first[row] = {}, values
                continue
            key = (asked, *beside)
            first.setdefault(key, values)
            grades = columns["relevance"][row] if graded else [0.0] * len(among)
            if len(grades) != len(among):
                raise NotAlignedError(
                    row,
                    f"expected as many numbers as candidates, found a relevance of {len(grades)} "
                    f"for {len(among)}",
                )
            group = groups.setdefault(key, {})
            if twice := [one for one in among if as_seen(one) in known.get(key, ())]:
                raise NotAlignedError(
                    row, f"expected each candidate once for a query, found {twice[0]!r} again"
                )
            group.update(zip(among, grades, strict=True))
            known.setdefault(key, set()).update(map(as_seen, among))
        found: dict[str, Sequence[Any]] = {
            "query": [first[key][0] for key in groups],
            "candidates": [list(group) or first[key][1] for key, group in groups.items()],
        }
        for at, name in enumerate(others, start=2):
            found[name] = [first[key][at] for key in groups]
        if graded:
            found["relevance"] = [list(group.values()) for group in groups.values()]
        return found

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """One output."""
        if manifest.outputs not in (None, 1):
            raise AdapterError(
                f"A head for ranking has one output; this one has {manifest.outputs}."
            )
        return HeadPlan(1, (), "regression")

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """One output."""
        grades = {grade for row in rows["relevance"] for grade in row}
        if len(grades) < 2:
            raise DataError(
                f"{rows.name} has the relevance {grades.pop():g} for each candidate; there is "
                "nothing to learn.",
                rows.name,
            )
        return HeadPlan(1, (), "regression")

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Queries of so many words, with a candidate each."""
        texts = words(lengths)
        return Rows("probe", {"query": texts, "candidates": [[text] for text in texts]})

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each candidate; ``labels`` is its relevance."""
        row_of = [row for row, among in enumerate(rows["candidates"]) for _ in among]
        flat = [candidate for among in rows["candidates"] for candidate in among]
        encoded, cut = encode_each(processor, [rows["query"][row] for row in row_of], flat, text)
        features = dict(encoded)
        if "relevance" in rows:
            features["labels"] = [grade for row in rows["relevance"] for grade in row]
        limit = tokens_read(processor, text.max_length)
        return Encoded(features, row_of, len({row_of[at] for at in cut}), limit)

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The binary cross-entropy, and a number for each pair, *shape* ``(pairs, 1)``."""
        given = dict(inputs)
        labels = given.pop("labels", None)
        logits = model(**given).logits
        if labels is None:
            return None, (logits,)
        return binary_cross_entropy_with_logits(logits[:, 0].float(), labels.float()), (logits,)

    def loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The binary cross-entropy; the model's own is the squared error."""
        return self.run(model, inputs, self.options())[0]

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The candidates of each query in order; those with one score stay as they were given."""
        return [
            _prediction(numbers, among)
            for numbers, among in zip(_by_row(outputs, rows), rows["candidates"], strict=True)
        ]

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """The means over queries."""
        values = self.row_values(outputs, encoded, rows, plan)
        return {
            name: float(np.nanmean(of_query) if np.isfinite(of_query).any() else np.nan)
            for name, of_query in values.items()
        }

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """How well the candidates of each query are ranked."""
        lists = _graded(outputs, rows)
        firsts = [_first(numbers, grades) for numbers, grades in lists]
        areas = np.array([_area(numbers, grades) for numbers, grades in lists])
        found = {
            "ndcg_at_10": np.array([_ndcg(numbers, grades) for numbers, grades in lists]),
            "mrr": np.array([1 / first if first else 0.0 for first in firsts]),
            "hit_rate_at_10": np.array([float(0 < first <= PLACES) for first in firsts]),
        }
        return found if np.isnan(areas).all() else {**found, "auc": areas}


def _graded(outputs: Outputs, rows: Rows) -> list[tuple[np.ndarray, np.ndarray]]:
    """The numbers and the grades of each query's candidates."""
    return list(zip(_by_row(outputs, rows), map(np.array, rows["relevance"]), strict=True))


def _by_row(outputs: Outputs, rows: Rows) -> list[np.ndarray]:
    """The numbers of each query's candidates."""
    ends = np.cumsum([len(among) for among in rows["candidates"]])
    return np.split(outputs[0].reshape(-1).astype(np.float64), ends[:-1])


def _prediction(numbers: np.ndarray, among: Sequence[str]) -> RankingPrediction:
    order = np.argsort(-numbers, kind="stable").tolist()
    return RankingPrediction(
        tuple(among[at] for at in order), tuple(order), tuple(map(float, expit(numbers[order])))
    )


def _ndcg(numbers: np.ndarray, grades: np.ndarray) -> float:
    if not np.isfinite(numbers).all():  # of training that diverged; scikit-learn refuses them
        return float("nan")
    if len(grades) < 2:  # scikit-learn refuses a list of one
        return float((grades > 0).any())
    return float(ndcg_score(grades[None], numbers[None], k=PLACES))


def _area(numbers: np.ndarray, grades: np.ndarray) -> float:
    relevant = grades > 0
    # There is nothing to tell apart, or training diverged.
    if relevant.all() or not relevant.any() or not np.isfinite(numbers).all():
        return float("nan")
    return float(roc_auc_score(relevant, numbers))


def _first(numbers: np.ndarray, grades: np.ndarray) -> int:
    """The place of the first relevant candidate, from 1; 0 where there is none."""
    if not (grades > 0).any():
        return 0
    best = numbers[grades > 0].max()
    return 1 + int((numbers[grades == 0] >= best).sum())


RANKING = Ranking()
