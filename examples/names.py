"""Named entities: in English tweets and forums, and in three languages on one base model.

    python examples/names.py --data DATA

DATA holds WNUT-17 (emerging entities in social media, CC BY 4.0) and WikiANN (persons, places and
organisations in Wikipedia) as CoNLL files, in the folders ner/wnut17_en and ner/wikiann_XX. Each
adapter is compared with a probe (a logistic regression on what the frozen base model says of each
word), and with the English adapter as it is. Then Portuguese has 100 sentences only, and draws on
the adapters of the other languages.
What the story trains on is cut, and the base models are used without dropout, so that all of it
takes minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from base_models import base_model
from seqeval.metrics import f1_score
from sklearn.linear_model import LogisticRegression
from story import Story, console, story_options, without_dropout, word_features

from hubkit.tasks.rows import Rows
from registry import Version

TASK = "token-classification"
SENTENCES = 1500
FEW = 100
VALIDATION = 300


@story_options("names-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """Train on names, compare with a probe, and fuse where examples are few."""
    story = Story(output, rows)
    tweets(story, data)
    languages(story, data)
    story.end()


def tweets(story: Story, data: Path) -> None:
    """WNUT-17 on MiniLM."""
    console.rule("WNUT-17: names in tweets and forums")
    base = without_dropout(base_model("minilm"), story.output / "minilm")
    train, validation, test = splits(story, data / "ner" / "wnut17_en")
    version = story.train(
        "tweets-names", TASK, train, validation, base=base, epochs=4, max_length=64
    )
    found = story.measure(version, test)["f1"]
    story.table(
        "F1 of whole entities in tweets and forums, on MiniLM",
        ("data", "sentences", "probe", "adapter"),
        [row("WNUT-17 en", train, probe(base, train, test), found)],
    )


def languages(story: Story, data: Path) -> None:
    """WikiANN on multilingual-e5-small."""
    console.rule("WikiANN: one base model, three languages")
    base = without_dropout(base_model("me5"), story.output / "me5")
    table, donors = [], list[Version]()
    for language in ("en", "fr"):
        train, validation, test = splits(
            story, data / "ner" / f"wikiann_{language}", most=SENTENCES
        )
        version = story.train(
            f"names-{language}", TASK, train, validation, base=base, epochs=4, max_length=64
        )
        donors.append(version)
        english = story.measure(donors[0], test)["f1"] if language != "en" else None
        found = story.measure(version, test)["f1"]
        table.append(
            row(f"WikiANN {language}", train, probe(base, train, test), english, found, None)
        )
    few, _, test = splits(story, data / "ner" / "wikiann_pt", FEW)
    how = {"epochs": 30, "max_length": 64}
    alone = story.train("names-pt", TASK, few, None, base=base, **how)
    fused = story.fuse("names-pt-fused", TASK, few, [donor.ref for donor in donors], **how)
    table.append(
        row(
            "WikiANN pt",
            few,
            probe(base, few, test),
            *(story.measure(version, test)["f1"] for version in (donors[0], alone, fused)),
        )
    )
    story.table(
        "F1 of whole entities in Wikipedia, on multilingual-e5-small",
        ("data", "sentences", "probe", "English adapter", "own adapter", "fusion"),
        table,
    )


def splits(story: Story, folder: Path, most: int | None = None) -> tuple[Rows, Rows, Rows]:
    """Training rows, at most so many; validation and test rows."""
    return (
        story.read(TASK, folder / "train.conll", most),
        story.read(TASK, folder / "validation.conll", VALIDATION),
        story.read(TASK, folder / "test.conll"),
    )


def row(name: str, train: Rows, *found: float | None) -> tuple[str, ...]:
    """A line of the table; an empty cell for None."""
    return name, f"{len(train):,}", *("" if one is None else f"{one:.3f}" for one in found)


def probe(base: Path, train: Rows, test: Rows) -> float:
    """The F1 of a logistic regression on the frozen base model, a word at a time."""
    tags = [tag for row in train["tags"] for tag in row]
    model = LogisticRegression(max_iter=1000)
    model.fit(np.concatenate(word_features(base, train["tokens"])), tags)
    predicted = [list(model.predict(words)) for words in word_features(base, test["tokens"])]
    return float(f1_score([list(row) for row in test["tags"]], predicted))


if __name__ == "__main__":
    main()
