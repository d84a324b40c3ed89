"""More classes, pairs of texts, and choices: three task types beside each other on MiniLM.

    python examples/classes_pairs_choices.py --data DATA

DATA holds banking77 (77 intents of bank customers, CC BY 4.0), STS-B (how like two sentences are)
and CommonsenseQA 1.0 (the right one of three answers) in the folders classification/banking77,
regression/stsb_en and multiple_choice/commonsenseqa, each with a train, validation and test file.
The frozen base model with a probe on top (a logistic regression, or the cosine of two sentences)
says what the adapters add. A table is printed as soon as a part is done.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from base_models import base_model
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from story import Story, console, sentence_features, story_options

PAIRS = {"text": "sentence1", "text_pair": "sentence2"}


@story_options("classes-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """Train on three task types, and compare with the frozen base model."""
    story = Story(output, rows)
    base = base_model("minilm")
    intents(story, base, data)
    pairs(story, base, data)
    choices(story, base, data)
    story.end()


def intents(story: Story, base: Path, data: Path) -> None:
    """77 classes."""
    console.rule("banking77: 77 intents")
    folder = data / "classification" / "banking77"
    train, validation, test = (
        story.read("text-classification", folder / f"{split}.csv")
        for split in ("train", "validation", "test")
    )
    kinds = set(train["label"])
    validation, test = (
        part.select([i for i, label in enumerate(part["label"]) if label in kinds])
        for part in (validation, test)
    )
    version = story.train(
        "intents", "text-classification", train, validation, base=base, epochs=4, max_length=64
    )
    found = story.measure(version, test)
    probe = LogisticRegression(max_iter=2000, C=10)
    probe.fit(sentence_features(base, train["text"]), train["label"])
    alone = probe.score(sentence_features(base, test["text"]), test["label"])
    story.table(
        "Accuracy of 77 intents on MiniLM",
        ("data", "texts", "probe", "adapter"),
        [("banking77", f"{len(train):,}", f"{alone:.3f}", f"{found['accuracy']:.3f}")],
    )


def pairs(story: Story, base: Path, data: Path) -> None:
    """How like two sentences are, from 0 to 5."""
    console.rule("STS-B: pairs of sentences")
    folder = data / "regression" / "stsb_en"
    train, validation, test = (
        story.read("text-regression", folder / f"{split}.csv", columns=PAIRS)
        for split in ("train", "validation", "test")
    )
    version = story.train(
        "likeness", "text-regression", train, validation, base=base, epochs=2, max_length=128
    )
    found = story.measure(version, test)
    first, second = (sentence_features(base, test[name]) for name in ("text", "text_pair"))
    cosine = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    alone = float(spearmanr(cosine, test["score"])[0])
    story.table(
        "Spearman's correlation of the likeness of two sentences on MiniLM",
        ("data", "pairs", "cosine of the frozen base", "adapter"),
        [("STS-B", f"{len(train):,}", f"{alone:.3f}", f"{found['spearman']:.3f}")],
    )


def choices(story: Story, base: Path, data: Path) -> None:
    """The right one of three answers."""
    console.rule("CommonsenseQA: three choices")
    folder = data / "multiple_choice" / "commonsenseqa"
    train, validation, test = (
        story.read("multiple-choice", folder / f"{split}.jsonl", columns={"prompt": "question"})
        for split in ("train", "validation", "test")
    )
    version = story.train(
        "commonsense", "multiple-choice", train, validation, base=base, epochs=1, max_length=64
    )
    found = story.measure(version, test)
    most = max(Counter(test["label"]).values()) / len(test)
    story.table(
        "Accuracy of three choices on MiniLM",
        ("data", "questions", "always the same place", "adapter"),
        [("CommonsenseQA", f"{len(train):,}", f"{most:.3f}", f"{found['accuracy']:.3f}")],
    )


if __name__ == "__main__":
    main()
