import ast
import inspect
import pickle

import pytest

from registry import HubkitError, errors
from registry.errors import did_you_mean, reason_of
from tests.support.imports import source_files

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


EDITS = {"replace", "sub", "removeprefix", "removesuffix", "partition", "rpartition", "split"}


def edited_errors(source: str) -> list[int]:
    """Lines where what handles an error of hubkit makes another text of its message."""
    names = {error.__name__ for error in CLASSES}
    return [
        call.lineno
        for handler in ast.walk(ast.parse(source))
        if isinstance(handler, ast.ExceptHandler) and handler.name and handler.type
        if any(name in names for name in _names(handler.type))
        for call in ast.walk(handler)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in EDITS
        and handler.name in _names(call)
    ]


def _names(node: ast.AST) -> list[str]:
    inner = [*ast.walk(node)]
    return [
        *(one.id for one in inner if isinstance(one, ast.Name)),
        *(one.attr for one in inner if isinstance(one, ast.Attribute)),
    ]


def test_nothing_edits_the_text_of_an_error() -> None:
    edited = {name: edited_errors(path.read_text()) for name, path in source_files().items()}
    assert {name: lines for name, lines in edited.items() if lines} == {}


def test_an_edited_text_is_found() -> None:
    handler = "try:\n    pass\nexcept errors.FolderError as error:\n    "
    assert edited_errors(handler + "x = str(error).replace(a, b)") == [4]
    assert edited_errors(handler + "x = re.sub(a, b, error.args[0])") == [4]
    assert edited_errors(handler + 'raise AdapterError(f"{file}: {error}") from error') == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("tree"), "'tree' is missing"),
        (KeyError(3), "3 is missing"),
        (KeyError("function x not found in\n the mapping"), "function x not found in the mapping"),
        (ValueError("one\n  two."), "one two"),
        (OSError(2, "No such file", "a"), "[Errno 2] No such file: 'a'"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
    ],
)
def test_what_an_error_of_a_library_says_is_half_a_sentence(error: Exception, said: str) -> None:
    assert reason_of(error) == said
