from collections.abc import Callable

import pytest
from click.testing import Result

from registry import Version

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _version(publish: Callable[..., Version]) -> None:
    publish("film")


def test_hides_the_version_until_undone(run: Run) -> None:
    assert run("yank", "film@1", "--reason", "leaked").stdout == "film@1 is yanked: leaked\n"
    assert run("list").stdout == ""
    assert "film has no latest version" in run("show", "film", status=1).stderr
    assert run("yank", "film@1", "--undo").stdout == "film@1 is not yanked.\n"
    assert run("list").stdout.startswith("film@1\t")


@pytest.mark.parametrize("arguments", [(), ("--reason", "leaked", "--undo"), ("--reason", "")])
def test_needs_a_reason_or_undo(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("yank", "film@1", *arguments, status=2)
    assert "Give a --reason to yank a version, or --undo" in result.stderr


def test_needs_a_version_number(run: Run) -> None:
    result = run("yank", "film", "--reason", "leaked", status=2)
    assert result.stderr == "Error: Say which version of film is meant, as in film@1.\n"
