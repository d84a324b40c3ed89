from collections.abc import Callable

import pytest
from click.testing import Result

from registry import AdapterRef, Version, open_catalog

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _versions(publish: Callable[..., Version]) -> None:
    publish("film")
    publish("film")


def test_names_the_version_and_moves(run: Run) -> None:
    assert run("alias", "film@1", "best").stdout == "film@best is film@1.\n"
    assert run("alias", "film", "best").stdout == "film@best is film@2.\n"
    assert open_catalog().resolve(AdapterRef.parse("film@best")).number == 2


def test_removed_alias_is_gone(run: Run) -> None:
    run("alias", "film@1", "best")
    result = run("alias", "film", "best", "--remove")
    assert result.stdout == "film has no alias best any more.\n"
    assert run("show", "film@best", status=1).stderr == (
        "Error: film has no alias 'best'; it has none besides latest.\n"
    )


def test_removing_an_alias_that_is_not_there(run: Run) -> None:
    assert "film has no alias 'best'" in run("alias", "film", "best", "--remove", status=1).stderr


@pytest.mark.parametrize("alias", ["latest", "Best", "1"])
def test_alias_that_nobody_may_set(run: Run, alias: str) -> None:
    assert run("alias", "film", alias, status=2).stderr.startswith("Error: ")


def test_yanked_version_gets_no_alias(run: Run) -> None:
    run("yank", "film@1", "--reason", "leaked")
    assert "film@1 is yanked (leaked)" in run("alias", "film@1", "best", status=1).stderr
