"""Every task type is compared: it is trained, measured, and what wins answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel, ViTImageProcessorPil

import hubkit
from hubkit.comparing.compare import compare_fusion
from hubkit.comparing.comparison import comparison_in
from hubkit.tasks.images.picture import picture
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog
from tests.support.language import DECODER, ENCODER, ENCODER_DECODER, language_base

pytest_plugins = ("tests.support.published",)

THINGS, JUDGED = ("film", "plot", "ball"), ("good", "bad", "dull", "great")
ROWS = [
    (f"the {thing}", f"{'very ' * much}{word}", word)
    for much, thing in enumerate(THINGS)
    for word in JUDGED
]
TEXTS = [f"{thing} was {said}" for thing, said, _ in ROWS]
LIKED = [word in ("good", "great") for *_, word in ROWS]


def columns(**given: Any) -> Rows:
    return Rows("rows.jsonl", given)


def classes() -> Rows:
    return columns(text=TEXTS, labels=[[word, thing] for thing, _, word in ROWS])


def numbers() -> Rows:
    return columns(text=TEXTS, score=[float(at) for at in range(len(TEXTS))])


def tagged() -> Rows:
    tokens = [text.split() for text in TEXTS]
    return columns(
        tokens=tokens,
        tags=[["O", "B-THING", *["O"] * (len(one) - 3), "B-WORD"] for one in tokens],
    )


def asked() -> Rows:
    answers = [
        {"text": [word], "answer_start": [text.index(word)]}
        for text, (*_, word) in zip(TEXTS, ROWS, strict=True)
    ]
    return columns(question=["was it"] * len(TEXTS), context=TEXTS, answers=answers)


def choices() -> Rows:
    among = [[word, "ball", "not"][: 2 + at % 2] for at, (*_, word) in enumerate(ROWS)]
    return columns(prompt=TEXTS, choices=among, label=[0] * len(TEXTS))


def ranked() -> Rows:
    lists = [[f"{thing} {word}" for word in JUDGED] for thing, *_ in ROWS]
    grades = [[float(word in ("good", "great")) for word in JUDGED] for _ in ROWS]
    return columns(query=TEXTS, candidates=lists, relevance=grades)


def paired() -> Rows:
    return columns(text=TEXTS, text_pair=[said for _, said, _ in ROWS])


def sources() -> Rows:
    return columns(source=TEXTS, target=[said for _, said, _ in ROWS])


def texts() -> Rows:
    return columns(text=TEXTS)


def pictures() -> Rows:
    pillow = pytest.importorskip("PIL.Image")
    images = [pillow.new("RGB", (9, 7), color=(20 * at, 255 - 20 * at, 0)) for at in range(12)]
    labels = ["red" if at >= 6 else "green" for at in range(12)]
    return columns(image=[picture(one) for one in images], label=labels)


CASES: dict[str, tuple[str, str, Any, Callable[[], Rows], str, str]] = {
    "several labels": ("text-classification", "bert", AutoModel, classes, "f1_micro", "fold"),
    "numbers": ("text-regression", "bert", AutoModel, numbers, "pearson", "fold"),
    "tokens": ("token-classification", "bert", AutoModel, tagged, "f1", "fold"),
    "questions": ("question-answering", "bert", AutoModel, asked, "f1", "row"),
    "choices": ("multiple-choice", "bert", AutoModel, choices, "accuracy", "row"),
    "ranking": ("ranking", "bert", AutoModel, ranked, "ndcg_at_10", "row"),
    "pairs": ("feature-extraction", "bert", AutoModel, paired, "mrr", "fold"),
    "translation": ("translation", "t5", ENCODER_DECODER, sources, "chrf", "fold"),
    "summary": ("summarization", "llama", DECODER, sources, "rougeL", "row"),
    "texts": ("text-generation", "gpt2", DECODER, texts, "perplexity", "fold"),
    "gaps": ("fill-mask", "bert", ENCODER, texts, "perplexity", "fold"),
    "pictures": ("image-classification", "vit", AutoModel, pictures, "accuracy", "row"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_task_type_is_compared_and_what_wins_answers(
    case: str, empty_catalog: Catalog, tmp_path: Path
) -> None:
    task, architecture, auto_class, rows, metric, paired_by = CASES[case]
    data = rows()
    base = language_base(tmp_path / "base", architecture, auto_class)
    if data.get("image"):
        ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(base)
    length = None if data.get("image") else 24

    def job(name: str, seed: int = 0) -> Job:
        return Job(
            name=AdapterRef.parse(name),
            task="test",
            task_type=task,
            data=data,
            validation=0,
            settings=Settings(
                epochs=1, learning_rate=1e-2, batch_size=4, max_length=length, seed=seed
            ),
        )

    for seed, name in enumerate(("a", "b")):
        train_adapter(empty_catalog, job(name, seed), base=str(base), bottleneck_size=4)
    refs = [AdapterRef.parse("a"), AdapterRef.parse("b")]
    found, version = compare_fusion(empty_catalog, job("new"), refs=refs, folds=2)
    assert (found.metric, found.paired_by) == (metric, paired_by)
    manifest = empty_catalog.manifest(version)
    assert comparison_in(empty_catalog, version, manifest) == found
    assert all(row.mean is not None for row in found.rows)
    # Only what chooses one of several is compared by its probabilities, too.
    by_brier = case in ("choices", "pictures")
    assert [row.brier is not None for row in found.rows] == [by_brier] * len(found.rows)
    given = data.without([one.name for one in TASK_TYPES[task].targets]).columns
    items = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    assert len(hubkit.load(version.ref, catalog=empty_catalog).predict(items[:2])) == 2
