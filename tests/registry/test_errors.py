import inspect
import pickle

import pytest

from registry import HubkitError, errors
from registry.errors import did_you_mean

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, HubkitError)
]


def test_the_tree_at_the_top_is_the_tree_below() -> None:
    drawn = []
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("│├└─ ")
        if name.endswith("Error"):
            depth = (len(line) - len(name)) // 4
            path[depth:] = [name]
            drawn.append(tuple(path))
    bases = [
        tuple(base.__name__ for base in reversed(error.mro()) if issubclass(base, HubkitError))
        for error in CLASSES
    ]
    assert drawn == bases


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_in_one_sentence_what_it_is(error: type[HubkitError]) -> None:
    summary = (error.__doc__ or "").splitlines()[0]
    assert summary.endswith(".")


def test_an_error_carries_its_subject_even_between_processes() -> None:
    error = pickle.loads(pickle.dumps(errors.RefNotFoundError("No adapter", "alice/sst2")))
    assert (str(error), error.subject) == ("No adapter", "alice/sst2")


@pytest.mark.parametrize(
    ("text", "candidates", "suggestion"),
    [
        ("sst1", ["mnli", "sst2"], " Did you mean sst2?"),
        ("sst1", ["sst2", "sst3", "sst2"], " Did you mean sst3 or sst2?"),
        ("zzz", ["sst2"], ""),
        ("zzz", [], ""),
    ],
)
def test_near_names_are_suggested(text: str, candidates: list[str], suggestion: str) -> None:
    assert did_you_mean(text, candidates) == suggestion
