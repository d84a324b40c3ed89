"""Questions on a text: English ones, then German ones on a model that saw English only.

    python examples/questions.py --data DATA

DATA holds questions on Wikipedia in the form of SQuAD (SQuADShifts, CC BY 4.0) and XQuAD (the same
questions in several languages, CC BY-SA 4.0) as JSON lines, in the folders qa/squadshifts_wiki and
qa/xquad.
"""

from __future__ import annotations

from pathlib import Path

from base_models import base_model
from story import Story, console, story_options

TASK = "question-answering"


@story_options("questions-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """Train on English questions, and ask in English and in German."""
    story = Story(output, rows)
    wiki, xquad = data / "qa" / "squadshifts_wiki", data / "qa" / "xquad"
    train = story.read(TASK, wiki / "train.jsonl")
    validation = story.read(TASK, wiki / "validation.jsonl")
    tests = {
        "Wikipedia, English": story.read(TASK, wiki / "test.jsonl"),
        "XQuAD, English": story.read(TASK, xquad / "test.en.jsonl"),
        "XQuAD, German": story.read(TASK, xquad / "test.de.jsonl"),
    }
    table = []
    for name in ("minilm", "me5"):
        console.rule(f"Questions on {name}")
        version = story.train(
            f"questions-{name}",
            TASK,
            train,
            validation,
            base=base_model(name),
            method="double_seq_bn",
            epochs=4,
            max_length=256,
        )
        for data_set, test in tests.items():
            if name == "minilm" and "German" in data_set:
                continue  # its words are English
            found = story.measure(version, test)
            table.append(
                (
                    data_set,
                    name,
                    f"{len(test)}",
                    f"{found['f1']:.1f}",
                    f"{found['exact_match']:.1f}",
                )
            )
    story.table(
        "Extractive question answering, trained on English questions",
        ("questions", "base model", "asked", "F1", "exact match"),
        table,
    )
    story.end()


if __name__ == "__main__":
    main()
