import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from click.testing import Result

from hubkit.cli.find.listing import KINDS
from registry import Version
from registry.manifest import Kind
from tests.cli.conftest import BASE, terminal
from tests.cli.find.conftest import measured

Run = Callable[..., Result]
Publish = Callable[..., Version]
METRICS = [
    {"dataset": "d", "split": "test", "name": name, "value": value, "higher_is_better": better}
    for name, value, better in (("loss", 0.1, False), ("accuracy", 0.98765, True))
]


def test_choices_are_the_kinds_of_manifests() -> None:
    assert get_args(Kind) == KINDS


def test_pipe_gets_plain_whole_lines(run: Run, publish: Publish) -> None:
    publish("film", task="sentiment", metrics=METRICS)
    version = publish("ada/" + "long" * 20)
    date = f"{version.created_at:%Y-%m-%d}"
    result = run("list", COLUMNS="40")
    assert result.stdout == (
        f"{version.ref}\t-\tseq_bn\tteam/tiny-bert\t-\t{date}\n"
        f"film@1\tsentiment\tseq_bn\tteam/tiny-bert\taccuracy 0.988\t{date}\n"
    )
    assert result.stderr == ""


@pytest.mark.parametrize("width", [40, 80, 120])
def test_terminal_gets_a_table_that_fits(publish: Publish, width: int) -> None:
    publish("film", task="sentiment", metrics=METRICS)
    publish("ada/" + "long" * 20, task="a task that is not short at all")
    lines = terminal("list", width=width).splitlines()
    assert max(map(len, lines)) <= width
    all_of_them = ["adapter", "task", "method", "base", "model", "score", "published"]
    assert (
        lines[0].split()
        == {
            40: ["adapter", "score"],
            80: [*all_of_them[:-1]],
            120: all_of_them,
        }[width]
    )


def test_terminal_gets_the_name_of_a_base_model_without_its_folder(publish: Publish) -> None:
    publish("film")
    shown = terminal("list", width=80)
    assert "tiny-bert" in shown
    assert "team/" not in shown


def test_json_is_one_document(run: Run, publish: Publish) -> None:
    publish("film", task="sentiment", metrics=METRICS, tags=["en"])
    document = json.loads(run("list", "--json").stdout)
    assert document["more"] is False
    (adapter,) = document["adapters"]
    assert adapter["ref"] == "film@1"
    assert adapter["tags"] == ["en"]
    assert adapter["metrics"] == METRICS


@pytest.mark.parametrize(
    "arguments",
    [
        ("film", "review"),
        ("--task", "sentiment"),
        ("--task-type", "text-classification"),
        ("--method", "par_bn"),
        ("--tag", "en"),
        ("--owner", "ada"),
        ("--base", "team/special"),
        ("--base", "special"),
        ("--base", "cd" * 4),
    ],
)
def test_every_filter_finds_the_one_it_describes(
    run: Run, publish: Publish, arguments: tuple[str, ...]
) -> None:
    publish("other")
    publish(
        "ada/film",
        task="sentiment",
        task_type="text-classification",
        method={"type": "par_bn"},
        tags=["en"],
        description="Reviews of films",
        base_model=BASE | {"id": "team/special", "fingerprint": "cd" * 32},
    )
    (line,) = run("list", *arguments).stdout.splitlines()
    assert line.startswith("ada/film@1\t")


def test_kind_is_a_filter(run: Run, publish: Publish) -> None:
    publish("film")
    publish("book")
    run("stack", "film", "book", "--name", "both")
    assert run("list", "--kind", "stack").stdout.startswith("both@1\t")
    assert run("list", "--kind", "adapter").stdout.count("\n") == 2


def test_base_model_is_found_by_its_folder(
    run: Run, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bert").mkdir()
    publish("film", base_model=BASE | {"id": str(tmp_path / "bert")})
    monkeypatch.chdir(tmp_path)
    assert run("list", "--base", "./bert").stdout.startswith("film@1\t")


def test_limit_says_that_there_are_more(run: Run, publish: Publish) -> None:
    for name in ("one", "two", "three"):
        publish(name)
    result = run("list", "--limit", 2)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["three@1", "two@1"]
    assert result.stderr == "There are more than 2: say which, or raise --limit.\n"
    assert json.loads(run("list", "--limit", 2, "--json").stdout)["more"] is True


def test_nothing_found_prints_nothing_to_the_pipe(run: Run) -> None:
    result = run("list", "film")
    assert (result.stdout, result.stderr) == ("", "No adapters found.\n")
    assert json.loads(run("list", "--json").stdout) == {"adapters": [], "more": False}


def test_bad_owner(run: Run) -> None:
    assert "An adapter's owner is " in run("list", "--owner", "a b", status=2).stderr


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
