"""hubkit leaderboard, lineage and diff, and what hubkit list gained beside them."""

import json
from collections.abc import Callable

from click.testing import Result

from registry import Version
from tests.cli.find.conftest import measured

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_diff_shows_what_changed(run: Run, publish: Publish) -> None:
    publish("film", task="sentiment", metrics=measured(0.5))
    publish("film", task="topic", metrics=measured(0.75))
    lines = [line.split("\t") for line in run("diff", "film@1", "film@2").stdout.splitlines()]
    assert ["task", "sentiment", "topic", ""] in lines
    assert ["accuracy (imdb, test)", "0.5", "0.75", "+0.2500"] in lines
    document = json.loads(run("diff", "film@1", "film@2", "--json").stdout)
    assert (document["before"], document["after"]) == ("film@1", "film@2")
    assert document["fields"] == [{"name": "task", "before": "sentiment", "after": "topic"}]
    assert document["tensors"] == []
    result = run("diff", "film", "film")
    assert (result.stdout, result.stderr) == ("", "They are the same.\n")
