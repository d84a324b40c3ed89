"""hubkit log."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from registry import Version, open_catalog

Run = Callable[..., Result]


def test_log_shows_who_did_what(run: Run, film: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run("yank", "film@1", "--reason", "leaked")
    lines = [line.split("\t") for line in run("log").stdout.splitlines()]
    assert [(line[0], *line[3:]) for line in lines] == [
        ("1", "publish", "film@1", "first"),
        ("2", "yank", "film@1", "leaked"),
    ]
    assert lines[1][2] == "carol"
    document = json.loads(run("log", "film", "--json").stdout)
    assert document["length"] == len(document["entries"]) == 2
    assert document["hash"] == document["entries"][-1]["hash"]
    assert document["hash"] in run("log").stderr
    assert json.loads(run("log", "book", "--json").stdout)["entries"] == []


def test_log_names_what_was_altered(run: Run, film: Version) -> None:
    from sqlalchemy import text

    with open_catalog().database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'eve'"))
    result = run("log", status=1)
    assert result.stderr.startswith("Entry 1 was altered: its hash differs.\n")
    assert "`hubkit fsck --full` says what to do" in result.stderr
    assert json.loads(run("log", "--json", status=1).stdout)["problems"]
