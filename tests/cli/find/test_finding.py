"""hubkit leaderboard, lineage and diff, and what hubkit list gained beside them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from registry import Version
from tests.cli.conftest import BASE, terminal

Run = Callable[..., Result]
Publish = Callable[..., Version]


def measured(value: float) -> list[dict[str, Any]]:
    facts = {"dataset": "imdb", "split": "test", "name": "accuracy"}
    return [{**facts, "value": value, "higher_is_better": True}]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--language", "en"),
        ("--license", "mit"),
        ("--metric", "accuracy>=0.9"),
        ("--dataset", "imdb"),
        ("--base", "roberta"),
    ],
)
def test_list_finds_the_one_it_describes(
    run: Run, publish: Publish, arguments: tuple[str, ...]
) -> None:
    publish("other")
    publish(
        "film",
        language="en",
        license="mit",
        metrics=measured(0.9),
        base_model=BASE | {"architecture": "RobertaModel"},
    )
    publish("another")
    (line,) = run("list", *arguments).stdout.splitlines()
    assert line.startswith("film@1\t")


def test_list_sorts_by_score(run: Run, publish: Publish) -> None:
    for name, value in (("low", 0.1), ("high", 0.9), ("middle", 0.5)):
        publish(name, metrics=measured(value))
    lines = run("list", "--sort", "score", "--limit", 2).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["high@1", "middle@1"]


def test_list_takes_sizes_with_units(run: Run, publish: Publish) -> None:
    publish("film")
    for size in ("1kB", "0.5 MB", "1000", "2GB"):
        assert run("list", "--max-size", size).stdout.startswith("film@1\t")
    assert run("list", "--max-size", 1).stdout == ""
    assert "is no size" in run("list", "--max-size", "much", status=2).stderr
    assert "written like" in run("list", "--metric", "accuracy", status=2).stderr


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


def test_lineage_is_two_trees(run: Run, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    parents = [{"ref": str(v.ref), "digest": v.manifest_digest} for v in (one, two)]
    both = publish("both", kind="fusion", method={"type": "fusion"}, parents=parents)
    top = [{"ref": str(both.ref), "digest": both.manifest_digest}]
    publish("top", kind="stack", method={"type": "stack"}, parents=top)
    assert run("lineage", "both").stdout.splitlines() == [
        "both@1 (fusion)",
        "├── made of",
        "│   ├── one@1 (seq_bn)",
        "│   └── two@1 (seq_bn)",
        "└── used by",
        "    └── top@1 (stack)",
    ]
    document = json.loads(run("lineage", "one", "--json").stdout)
    assert document["made_of"] == []
    assert document["used_by"][0]["ref"] == "both@1"
    assert document["used_by"][0]["relatives"][0]["ref"] == "top@1"


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
