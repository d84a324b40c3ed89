"""Each command that reads a data file, with files that it cannot use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import Catalog

Run = Callable[..., Result]

LEARNING = {
    "train": ("train", "FILE", "--base", "BASE", "--task", "t", "--name", "new"),
    "train each": (
        "train",
        "FILE",
        "--base",
        "BASE",
        "--task",
        "t",
        "--each",
        "label",
        "--name",
        "new",
    ),
    "validate": (
        "train",
        "DATA",
        "--base",
        "BASE",
        "--task",
        "t",
        "--name",
        "new",
        "--validation",
        "FILE",
    ),
    "fuse": ("fuse", "film", "book", "--data", "FILE", "--name", "new"),
    "mix": ("mix", "film", "book", "--data", "FILE", "--name", "new"),
    "suggest": ("suggest", "--data", "FILE", "--base", "BASE"),
    "evaluate": ("evaluate", "film", "FILE", "--record"),
    "evaluate two": ("evaluate", "film", "book", "FILE", "--paired"),
}
READING = {"predict": ("predict", "film", "--file", "FILE")}

TEXTS = {
    "nothing": "",
    "no rows": "text,label\n",
    "no text": "txt,label\na film,positive\na plot,negative\n",
    "text twice": "text,label,text\na,positive,b\nc,negative,d\n",
    "unnamed": ",label\na,positive\nb,negative\n",
    "a field too many": "text,label\na,b,positive\nc,negative\n",
    "an open quote": 'text,label\n"a,positive\nb,negative\n',
    "semicolons": "text;label\na;positive\nb;negative\n",
}
LABELS = {
    "no label": "text,mood\na film,positive\na plot,negative\n",
    "empty texts": "text,label\n,positive\n ,negative\n",
    "empty labels": "text,label\na,\nb, \n",
    "fractions": "text,label\na,0.5\nb,1.5\n",
    "two labels that look the same": "text,label\na,positive\nb,positive\u200b\n",
}
ROWS = {
    "a number as text": [{"text": 3, "label": "positive"}, {"text": "b", "label": "negative"}],
    "a list as text": [{"text": ["a"], "label": "positive"}, {"text": "b", "label": "negative"}],
    "no object": ["a", "b"],
}
LABELLED_ROWS = {
    "null as text": [{"text": None, "label": "positive"}, {"text": "b", "label": "negative"}],
    "an object as label": [{"text": "a", "label": {}}, {"text": "b", "label": "negative"}],
    "null as label": [{"text": "a", "label": None}, {"text": "b", "label": "negative"}],
    "labels of two types": [{"text": "a", "label": 1}, {"text": "b", "label": "negative"}],
    "a text as labels": [{"text": "a", "labels": 7}, {"text": "b", "labels": []}],
}
BYTES = {
    "no text file": b"\x93NUMPY\x01\x00v\x00",
    "latin-1": "text,label\né,positive\n".encode("latin-1"),
}


def written(folder: Path, bad: str) -> Path:
    rows = (ROWS | LABELLED_ROWS).get(bad)
    path = folder / ("data.csv" if rows is None else "data.jsonl")
    lines = "".join(f"{json.dumps(row)}\n" for row in rows or ())
    path.write_bytes(BYTES.get(bad) or ((TEXTS | LABELS).get(bad) or lines).encode())
    return path


def everything(catalog: Catalog) -> dict[str, int]:
    """Each file of a registry but its database and cache, with its size; those of runs, too."""
    kept = [path for path in catalog.home.rglob("*") if path.is_file()]
    return {
        str(path): path.stat().st_size
        for path in kept
        if ".db" not in path.name and "cache" not in path.parts
    }


@pytest.mark.parametrize("command", [*LEARNING, *READING])
def test_data_that_a_command_cannot_use_is_refused_in_a_sentence_and_leaves_nothing(
    run: Run, trained: Catalog, base: Path, data: Path, tmp_path: Path, command: str
) -> None:
    before = everything(trained)
    learned = (*LABELS, *LABELLED_ROWS) if command in LEARNING else ()
    for bad in (*TEXTS, *ROWS, *BYTES, *learned):
        file = written(tmp_path, bad)
        meant = {"FILE": file, "BASE": base, "DATA": data}
        arguments = [meant.get(one, one) for one in (LEARNING | READING)[command]]
        result = run(*arguments, status=1)
        said = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(said) == 1, (bad, result.stderr)
        assert said[0].endswith("."), (bad, said)
        assert file.name in said[0], (bad, said)
        assert result.stdout == "", bad
        assert everything(trained) == before, bad
