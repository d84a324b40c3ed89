import json
from collections.abc import Callable

from click.testing import Result

from registry import Version
from tests.cli.conftest import terminal
from tests.cli.find.conftest import measured

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_leaderboard_ranks_and_fits_the_terminal(run: Run, publish: Publish) -> None:
    publish("low", metrics=measured(0.1))
    publish("high", metrics=measured(0.9))
    assert run("leaderboard", "--dataset", "imdb").stdout == (
        "1\thigh@1\t0.9000\ttest\tseq_bn\tteam/tiny-bert\t-\n"
        "2\tlow@1\t0.1000\ttest\tseq_bn\tteam/tiny-bert\t-\n"
    )
    first, second = json.loads(run("leaderboard", "--dataset", "imdb", "--json").stdout)
    assert (first["rank"], first["value"], first["adapter"]["ref"]) == (1, 0.9, "high@1")
    assert second["rank"] == 2
    table = terminal("leaderboard", "--dataset", "imdb", width=40).splitlines()
    assert [line.split() for line in table] == [
        ["rank", "adapter", "accuracy", "base", "model"],
        ["1", "high@1", "0.9000", "tiny-bert"],
        ["2", "low@1", "0.1000", "tiny-bert"],
    ]
    assert "Nothing that matches" in run("leaderboard", "--dataset", "none").stderr
