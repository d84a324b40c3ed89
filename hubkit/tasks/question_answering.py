"""A question and a context to the part of the context that answers it, or to none.

Encoded as transformers' example ``run_qa`` does it, answered as its pipeline of that name did.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.columns import Column, NotExpectedError, is_unicode, parsed, place_of, text
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import words
from hubkit.tasks.windows import Windows, WindowTask, of_tokens, spelled_together
from registry.errors import AdapterError, DataError
from registry.folders.flexible_heads import FlexibleHead
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

_PLAN = HeadPlan(2)


def answer_list(value: Any) -> dict[str, list[Any]]:
    """Answers in the form of SQuAD: texts, and where each starts; a question may have none."""
    expected = "answers: an object with the lists text and answer_start, of one length"
    value = parsed(value, expected)
    if isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value):
        value = {name: [one.get(name) for one in value] for name in ("text", "answer_start")}
    if not isinstance(value, Mapping):
        raise NotExpectedError(expected)
    texts, starts = (
        getattr(found, "tolist", lambda found=found: found)()
        for found in (value.get("text"), value.get("answer_start"))
    )
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise NotExpectedError(expected)
    if not all(isinstance(one, str) and one.strip() and is_unicode(one) for one in texts):
        raise NotExpectedError("answers of text; a question without an answer has empty lists")
    if not all(type(start) is int and start >= 0 for start in starts):
        raise NotExpectedError("answers that start at a character of the context, from 0")
    return {"text": texts, "answer_start": starts}


@dataclass(frozen=True)
class Answer:
    """A part of a context.

    Attributes:
        answer: The part; empty where the question has no answer in the context.
        score: Its probability, from 0 to 1.
        start: Where it starts in the context, in characters.
        end: Where it ends.
    """

    answer: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class AnswerPrediction(Answer, Prediction):
    """The best answer to a question."""

    def cells(self) -> tuple[str, ...]:
        """The answer and its score; a dash where there is none."""
        return self.answer or "-", f"{self.score:.4f}"


@dataclass(frozen=True)
class AnswersPrediction(AnswerPrediction):
    """As :class:`AnswerPrediction`, with the answers that come next.

    Attributes:
        answers: The best one and those after it.
    """

    answers: tuple[Answer, ...]

    def cells(self) -> tuple[str, ...]:
        """All answers, as a JSON list because anything may stand in them, and their scores."""
        return (
            json.dumps([one.answer for one in self.answers], ensure_ascii=False),
            ", ".join(f"{one.score:.4f}" for one in self.answers),
        )


@dataclass(frozen=True)
class AnswerOptions(Options):
    """How a question is answered: options of the pipeline of transformers.

    Attributes:
        top_k: How many answers; there are fewer where the context has no more.
        max_answer_length: Tokens of an answer at most.
        handle_impossible_answer: Whether there may be no answer: an empty one with the score of
            that. None: as in training; no, if that was not recorded.
        align_to_words: Whether answers begin and end with words: what stands between two spaces,
            or less where the tokenizer cuts it. In scripts without spaces, each token is a word.

    Raises:
        DataError: A number is less than one.
    """

    top_k: int = 1
    max_answer_length: int = 30
    handle_impossible_answer: bool | None = None
    align_to_words: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("top_k", "max_answer_length"):
            value = getattr(self, name)
            if value < 1:
                raise DataError(f"{name} must be at least 1, not {value}.", value)


class QuestionAnswering(WindowTask):
    """The head has two outputs for each token: whether the answer starts, and whether it ends."""

    names = TASK_NAMES["question-answering"]
    columns = (
        Column("question", text),
        Column("context", text),
        Column("answers", answer_list, target=True),
    )
    example = (
        '{"question": "Who wrote it?", "context": "Ada wrote it.", '
        '"answers": {"text": ["Ada"], "answer_start": [0]}}'
    )
    metrics_up = MappingProxyType({"f1": True, "exact_match": True})
    header = ("answer", "score")
    options = AnswerOptions
    max_length = 384

    @staticmethod
    def stride(limit: int) -> int:
        """Those of the pipeline and of ``run_qa``: 128, but no more than half a window."""
        return min(limit // 2, 128)

    def text_info(
        self,
        processor: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        asked: TextInfo,
        rows: Rows,
    ) -> TextInfo:
        """The context is what is read in windows, each with the whole question."""
        found = super().text_info(processor, model, asked, rows)
        return found.model_copy(
            update={"pair": "only_second", "no_answer": self.fit_plan(rows).no_answer}
        )

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Each answer stands in the context, where it says."""
        answers, context = row["answers"], row["context"]
        for answer, start in zip(answers["text"], answers["answer_start"], strict=True):
            there = context[start : start + len(answer)]
            if there == answer:
                continue
            raise NotExpectedError(
                f"the answer {answer[:80]!r} at character {start} of the context, found "
                f"{there[:80]!r}; {place_of(answer, context, start)}"
            )

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """Two outputs, which say that there is no answer if some rows have none."""
        if not any(answers["text"] for answers in rows["answers"]):
            raise DataError(
                f"{rows.name} has no answer to any question; there is nothing to learn.", rows.name
            )
        return replace(_PLAN, no_answer=_some_have_none(rows))

    def flexible_head(self, rows: Rows, plan: HeadPlan) -> FlexibleHead:
        """Two outputs of each token."""
        return FlexibleHead("question_answering", layers=2, activation="tanh", outputs=2)

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """Two outputs, also where the manifest does not tell."""
        if manifest.outputs not in (None, 2):
            raise AdapterError(
                f"A head for question-answering has two outputs; this one has {manifest.outputs}."
            )
        return replace(_PLAN, no_answer=None if manifest.text is None else manifest.text.no_answer)

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Contexts of so many words, with questions of one: a question is never cut."""
        return Rows("probe", {"question": words([1] * len(lengths)), "context": words(lengths)})

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each window, with the first answer's first and last token if it is in it.

        Where the window has no answer, both are the token that stands for the whole text.
        """
        windows = self.windows(processor, text, rows.get("question") or (), rows.get("context"))
        nulls = [_null(processor, encoding.ids) for encoding in windows.encodings]
        features = dict(windows.features)
        if "answers" in rows:
            ends = [
                _positions(encoding, null, rows["context"][row], rows["answers"][row])
                for row, null, encoding in zip(
                    windows.row_of, nulls, windows.encodings, strict=True
                )
            ]
            features["start_positions"] = [start for start, _ in ends]
            features["end_positions"] = [end for _, end in ends]
        beside: dict[str, list[Any]] = {
            "null": nulls,
            "encoding": windows.encodings,
            "words": _words_in(windows, rows.get("context") or ()),
        }
        return Encoded(features, windows.row_of, beside=beside)

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss, and the outputs of each token, *shape* ``(batch, tokens, 2)``."""
        found = model(**inputs)
        ends = torch.stack((found.start_logits, found.end_logits), dim=-1)
        return found.get("loss"), (of_tokens(ends, inputs),)

    def one_pass(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``start_logits`` and ``end_logits`` of each token, *shape* ``(windows, tokens)``."""
        found = model(**inputs)
        return {name: found[name] for name in ("start_logits", "end_logits")}

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The best answer to each question, or several."""
        assert isinstance(options, AnswerOptions)
        if options.handle_impossible_answer is None:
            options = replace(options, handle_impossible_answer=bool(plan.no_answer))
        found: list[list[Answer]] = [[] for _ in range(len(rows))]
        nulls = [1.0] * len(rows)
        for index, row in enumerate(encoded.row_of):
            answers, null = _answers(
                outputs[0][index],
                encoded.beside["encoding"][index],
                encoded.beside["words"][index],
                encoded.beside["null"][index],
                rows["context"][row],
                options,
            )
            found[row] = _merged(found[row], answers)
            nulls[row] = min(nulls[row], null)
        return [
            _prediction(answers, null, options) for answers, null in zip(found, nulls, strict=True)
        ]

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """Exact match and F1 by the rules of SQuAD 2.0, from 0 to 1, of what `predict` answers.

        An empty answer is allowed if a row of training had none. If that was not recorded: if any
        of these rows has none.
        """
        values = self.row_values(outputs, encoded, rows, plan)
        return {name: float(of_row.mean()) for name, of_row in values.items()}

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """F1 and exact match of each row."""
        none = _some_have_none(rows) if plan.no_answer is None else plan.no_answer
        options = AnswerOptions(handle_impossible_answer=none)
        predictions = self.predictions(outputs, encoded, rows, plan, options)
        found = []
        for one, answers in zip(predictions, rows["answers"], strict=True):
            assert isinstance(one, AnswerPrediction)
            found.append(answer_scores(one.answer, answers["text"]))
        f1, exact = zip(*found, strict=True) if found else ((), ())
        return {"f1": np.array(f1, float), "exact_match": np.array(exact, float)}


def _some_have_none(rows: Rows) -> bool:
    return not all(answers["text"] for answers in rows["answers"])


def _null(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """The token that stands for "no answer": the one for the whole text, or else the first."""
    for token in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        if token in ids:
            return list(ids).index(token)
    return 0


def _context(encoding: Encoding) -> tuple[int, int]:
    """The first token of a window's context, and the one behind its last."""
    inside = [at for at, text in enumerate(encoding.sequence_ids) if text == 1]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _positions(
    encoding: Encoding, null: int, context: str, answers: Mapping[str, Sequence[Any]]
) -> tuple[int, int]:
    """The first and the last token of the first answer; twice ``null`` if it is not in there."""
    low, high = _context(encoding)
    if not answers["text"] or low == high:
        return null, null
    start = answers["answer_start"][0]
    start, end = _trimmed(context, start, start + len(answers["text"][0]))
    offsets = encoding.offsets
    if offsets[low][0] > start or offsets[high - 1][1] < end:
        return null, null
    first = max(at for at in range(low, high) if offsets[at][0] <= start)
    last = min(at for at in range(low, high) if offsets[at][1] >= end)
    return first, max(first, last)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A part of a text without the space around it."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _answers(
    logits: np.ndarray,
    encoding: Encoding,
    words: Sequence[tuple[int, int]],
    null: int,
    context: str,
    options: AnswerOptions,
) -> tuple[list[Answer], float]:
    """The best answers in a window, and the score of there being none.

    Args:
        logits: *Shape* ``(tokens, 2)``.
        encoding: The encoding of the window.
        words: Where the word of each token of the window's context is.
        null: The token that stands for no answer.
        context: The text that the window is of.
        options: How many answers, of which length.
    """
    low, high = _context(encoding)
    usable = np.zeros(len(logits), dtype=bool)
    usable[low:high] = usable[null] = True
    masked = np.where(usable[:, None], logits.astype(np.float64), -np.inf)
    scores = softmax(masked, axis=0)
    none = float(scores[null].prod())
    # A score for each first token and each length of an answer: 0 where it would leave the context.
    starts, ends = scores[low:high].T
    pairs = np.zeros((high - low, min(high - low, options.max_answer_length)))
    for more in range(pairs.shape[1]):
        pairs[: len(starts) - more, more] = starts[: len(starts) - more] * ends[more:]
    # Some of them are one answer once they are aligned to words.
    most = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    best = np.argsort(-pairs, axis=None, kind="stable")[:most]
    found: list[Answer] = []
    for first, more in zip(*np.unravel_index(best, pairs.shape), strict=True):
        score = float(pairs[first, more])
        if score == 0.0:
            break
        last = first + more
        places = words if options.align_to_words else encoding.offsets[low:high]
        start, end = places[first][0], places[last][1]
        start, end = _trimmed(context, start, end)
        answer = context[start:end]
        if not answer:
            continue
        same = [at for at, one in enumerate(found) if one.answer.lower() == answer.lower()]
        if same:
            found[same[0]] = replace(found[same[0]], score=found[same[0]].score + score)
        else:
            found.append(Answer(answer, score, start, end))
    return found, none


def _words_in(windows: Windows, contexts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Where in its context the word of each token of a window is, also if the window cuts it.

    A word is what the tokenizer takes for one. Some tokenizers take a whole text for one word: it
    ends at a space all the same, and where a script has no spaces.
    """
    tokens: list[list[tuple[int, int, int | None]]] = [[] for _ in contexts]
    parts: list[slice] = []
    for row, shared, encoding in zip(
        windows.row_of, windows.shared, windows.encodings, strict=True
    ):
        low, high = _context(encoding)
        first = len(tokens[row]) - shared
        # Each of these properties makes a list of the whole window: ask for it once.
        places, words_of = encoding.offsets, encoding.word_ids
        tokens[row][first:] = [
            (*_trimmed(contexts[row], *places[at]), words_of[at]) for at in range(low, high)
        ]
        parts.append(slice(first, first + high - low))
    words = [_whole_words(text, own) for text, own in zip(contexts, tokens, strict=True)]
    return [words[row][part] for row, part in zip(windows.row_of, parts, strict=True)]


def _whole_words(text: str, tokens: Sequence[tuple[int, int, int | None]]) -> list[tuple[int, int]]:
    """Where the word of each token is; tokens are given by their start, end and word."""
    groups: list[list[int]] = []
    for at, (start, end, word) in enumerate(tokens):
        before, last, own = tokens[at - 1] if at else (0, 0, None)
        goes_on = at > 0 and (
            start < last  # another byte of one character
            or (
                word == own
                and start == last
                # The mark of a space belongs to what follows.
                and (before == last or (end > start and spelled_together(text, start)))
            )
        )
        if not goes_on:
            groups.append([])
        groups[-1].append(at)
    return [
        (tokens[group[0]][0], max(tokens[at][1] for at in group)) for group in groups for _ in group
    ]


def _merged(found: Sequence[Answer], more: Sequence[Answer]) -> list[Answer]:
    """The answers of several windows: what stands in two of them counts once, by its best."""
    best: dict[str, Answer] = {}
    for one in (*found, *more):
        key = one.answer.lower()
        if key not in best or one.score > best[key].score:
            best[key] = one
    return list(best.values())


def _prediction(found: Sequence[Answer], null: float, options: AnswerOptions) -> AnswerPrediction:
    answers = list(found)
    if options.handle_impossible_answer or not answers:
        answers.append(Answer("", null, 0, 0))
    answers = sorted(answers, key=lambda one: -one.score)[: options.top_k]
    best = answers[0]
    if options.top_k == 1:
        return AnswerPrediction(best.answer, best.score, best.start, best.end)
    return AnswersPrediction(best.answer, best.score, best.start, best.end, tuple(answers))


# The rules of https://rajpurkar.github.io/SQuAD-explorer for version 2.0. Today's libraries only
# have those of 1.1, in which every question has an answer.


def answer_scores(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match of an answer, each 0 to 1, against the nearest of those that are right.

    Args:
        answer: Empty for none.
        right: Empty where the question has no answer.
    """
    guess = _words(answer)
    golds = [words for one in right if (words := _words(one))] or [[]]
    return max(_f1(guess, gold) for gold in golds), float(guess in golds)


def _words(answer: str) -> list[str]:
    """What is compared of an answer: its words in small letters, no articles, no punctuation."""
    small = "".join(char for char in answer.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", small).split()


def _f1(guess: Sequence[str], gold: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the words of an answer."""
    if not guess or not gold:
        return float(guess == gold)
    common = (Counter(guess) & Counter(gold)).total()
    return 2 * common / (len(guess) + len(gold))


QUESTION_ANSWERING = QuestionAnswering()
