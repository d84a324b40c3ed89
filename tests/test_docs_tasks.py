"""The examples of the guide to task types, run on tiny models."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    ViTImageProcessorPil,
)

import hubkit
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.data import read_rows
from hubkit.training.train import train_adapter
from registry import open_catalog
from registry import task_types as names
from tests.support.language import language_base, pairs, texts
from tests.support.models import base_folder, tiny_model
from tests.support.whole_way import job

GUIDE = Path(__file__).parent.parent / "docs" / "tasks.md"
ADA = {"tokens": ["ada", "wrote", "it"], "tags": ["B-PER", "O", "O"]}
ROWS: dict[str, tuple[str, dict[str, list[Any]]]] = {
    "reviews": (
        "text-classification",
        {"text": ["good film", "bad film"], "label": ["positive", "negative"]},
    ),
    "similarity": (
        "text-regression",
        {"text": ["a man", "a ball"], "text_pair": ["a man", "the film"], "score": [5.0, 0.5]},
    ),
    "names": ("token-classification", {name: [value] * 2 for name, value in ADA.items()}),
    "reader": (
        "question-answering",
        {
            "question": ["who", "what"],
            "context": ["ada wrote it", "ada wrote it"],
            "answers": [
                {"text": ["ada"], "answer_start": [0]},
                {"text": ["it"], "answer_start": [10]},
            ],
        },
    ),
    "commonsense": (
        "multiple-choice",
        {"prompt": ["a ball", "a film"], "choices": [["good", "bad"]] * 2, "label": [0, 1]},
    ),
    "taste-of-221": (
        "ranking",
        {
            "query": ["fun"] * 2,
            "candidates": [["good film", "bad film"]] * 2,
            "relevance": [[1, 0]] * 2,
        },
    ),
    "likeness": (
        "feature-extraction",
        {"text": ["a man", "a ball"], "text_pair": ["a man", "the film"], "score": [0.9, -0.5]},
    ),
}
BASES = {
    "stories": ("text-generation", "llama", AutoModelForCausalLM),
    "en-de": ("translation", "bart", AutoModelForSeq2SeqLM),
    "english": ("fill-mask", "bert", AutoModelForMaskedLM),
}


def sections() -> Iterator[tuple[str, list[doctest.Example]]]:
    """Each section of the guide, and what it shows."""
    for section in GUIDE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        shown = re.findall(r"```pycon\n(.*?)```", text, flags=re.DOTALL)
        yield title, doctest.DocTestParser().get_examples("\n".join(shown))


def test_each_task_type_has_a_section_with_an_example() -> None:
    told = {name for title, _ in sections() for name in title.split(", ")}
    assert told == set(TASK_TYPES) == set(names.TASK_NAMES)
    assert all(examples for _, examples in sections())


def adapter(name: str, folder: Path) -> None:
    """Train and publish what an example loads."""
    catalog = open_catalog(folder / "home")
    if name == "pets":
        base = folder / "base"
        tiny_model("vit").save_pretrained(base)
        ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(base)
        for animal, colour in (("cat", "red"), ("dog", "blue")):
            PIL.Image.new("RGB", (8, 8), colour).save(folder / f"{animal}.png")
        (folder / "pets.csv").write_text("image,label\ncat.png,cat\ndog.png,dog\n")
        task_type = "image-classification"
        rows = read_rows(TASK_TYPES[task_type], folder / "pets.csv")
    elif name in BASES:
        task_type, architecture, auto_class = BASES[name]
        base = language_base(folder / "base", architecture, auto_class)
        rows = pairs() if task_type == "translation" else texts()
    else:
        base = base_folder(folder / "base")
        task_type, columns = ROWS[name]
        rows = Rows("rows.jsonl", columns)
    train_adapter(catalog, job(task_type, rows, name, epochs=1), base=str(base))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("title", "examples"), list(sections()), ids=[t for t, _ in sections()])
def test_the_example_of_a_task_type_runs_and_answers_as_shown(
    title: str,
    examples: list[doctest.Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUBKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    loaded = re.search(r'hubkit.load\("(.+?)"', "".join(one.source for one in examples))
    assert loaded is not None
    adapter(loaded.group(1), tmp_path)
    known: dict[str, Any] = {"hubkit": hubkit, "PIL": PIL}
    for example in examples:
        if example.want:
            shown = repr(eval(example.source, known))
            assert kind(shown) == kind(example.want)
        else:
            exec(example.source, known)


def kind(shown: str) -> str:
    """The class of what is shown; the numbers in it differ from run to run."""
    found = re.match(r"\[?(\w+)\(", shown)
    assert found is not None, shown
    return found.group(1)
