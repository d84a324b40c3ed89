"""Questions on a text: English ones, then German ones on a model that saw English only.

    python examples/questions.py --data DATA

DATA holds questions on Wikipedia in the form of SQuAD (SQuADShifts, CC BY 4.0) and XQuAD (the same
questions in several languages, CC BY-SA 4.0) as JSON lines, in the folders qa/squadshifts_wiki and
qa/xquad. What an adapter is compared with needs no model: the sentence of the text that has most
words of the question.

The adapters are in the upper half of the layers; what is below runs once for each text. The base
models are used without dropout: with texts of 200 tokens, it takes two fifths of a training step on
a processor, mostly for a random number for each pair of tokens.
"""

from __future__ import annotations

import re
from pathlib import Path

from base_models import base_model
from story import Story, console, story_options, without_dropout
from transformers import AutoConfig

from hubkit.tasks.question_answering import answer_scores
from hubkit.tasks.rows import Rows
from hubkit.training.settings import CACHE_TRUNK

TASK = "question-answering"
LEARNED = 2400
ASKED = 300


@story_options("questions-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """Train on English questions, and ask in English and in German."""
    story = Story(output, rows)
    wiki, xquad = data / "qa" / "squadshifts_wiki", data / "qa" / "xquad"
    train = story.read(TASK, wiki / "train.jsonl", LEARNED)
    tests = {
        "Wikipedia, English": story.read(TASK, wiki / "test.jsonl", ASKED),
        "XQuAD, English": story.read(TASK, xquad / "test.en.jsonl", ASKED),
        "XQuAD, German": story.read(TASK, xquad / "test.de.jsonl", ASKED),
    }
    found = {name: [nearest_sentence(test)] for name, test in tests.items()}
    for name in ("minilm", "me5"):
        console.rule(f"Questions on {name}")
        base = without_dropout(base_model(name), output / name)
        layers = AutoConfig.from_pretrained(base).num_hidden_layers
        version = story.train(
            f"questions-{name}",
            TASK,
            train,
            validation=0,
            base=base,
            method="double_seq_bn",
            parameters={"leave_out": [*range(layers // 2)]},
            epochs=2,
            batch_size=8,
            max_length=256,
            cache_trunk=CACHE_TRUNK,
        )
        for data_set, test in tests.items():
            # The words of MiniLM are English.
            english = name == "minilm" and "German" in data_set
            found[data_set].append("" if english else shown(**story.measure(version, test)))
    story.table(
        "Extractive question answering, trained on English questions: F1 / exact match",
        ("questions", "asked", "nearest sentence", "MiniLM", "me5"),
        [(name, f"{len(tests[name])}", *cells) for name, cells in found.items()],
    )
    story.end()


def nearest_sentence(rows: Rows) -> str:
    """F1 and exact match of the sentence that has most words of the question."""
    scores = []
    for question, context, answers in zip(
        rows["question"], rows["context"], rows["answers"], strict=True
    ):
        asked = words(question)
        sentences = re.split(r"(?<=[.!?])\s+", context)
        best = max(sentences, key=lambda sentence: len(asked & words(sentence)))
        scores.append(answer_scores(best, answers["text"]))
    f1, exact = (sum(values) / len(scores) for values in zip(*scores, strict=True))
    return shown(f1, exact)


def words(text: str) -> set[str]:
    """The words of a text in small letters."""
    return set(re.findall(r"\w+", text.lower()))


def shown(f1: float, exact_match: float) -> str:
    """Both from 0 to 100."""
    return f"{100 * f1:.1f} / {100 * exact_match:.1f}"


if __name__ == "__main__":
    main()
