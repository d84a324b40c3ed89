import json
from collections.abc import Callable

from click.testing import Result

from tests.support.hub import Hub

Run = Callable[..., Result]
CARD = b"---\nbase_model: team/bert\nlibrary_name: peft\npipeline_tag: text-classification\n---\n"


def test_adapters_of_a_base_model_on_a_hub(run: Run, hub: Hub) -> None:
    hub.create("bob/film", {"README.md": CARD})
    wanted = ("search", "--from", hub.url, "--base", "team/bert")
    shown = run(*wanted, "--task", "text-classification").stdout
    expected = ("bob/film", "text-classification", "team/bert", "peft", "7", "2026-11-01")
    assert shown == "\t".join(expected) + "\n"
    (document,) = json.loads(run(*wanted, "film", "--json").stdout)
    assert document["repository"] == "bob/film"
    assert document["updated_at"].startswith("2026-11-01T12:00:00")


def test_nothing_found_is_told(run: Run, hub: Hub) -> None:
    result = run("search", "--from", hub.url, "--base", "team/bert")
    assert (result.stdout, result.stderr) == ("", "No adapters found.\n")


def test_a_word_in_place_of_the_hub_is_refused(run: Run) -> None:
    assert "film is not a hub's address" in run("search", "--from", "film", status=2).stderr


def test_the_default_hub_is_that_of_the_stock_client(run: Run, hub: Hub) -> None:
    hub.create("bob/film", {"README.md": CARD})
    found = run("search", "--base", "team/bert", HF_ENDPOINT=hub.url)
    assert found.stdout.startswith("bob/film\t")


def test_the_hub_may_be_named_as_it_was_before(run: Run, hub: Hub) -> None:
    hub.create("bob/film", {"README.md": CARD})
    assert run("search", "--remote", hub.url, "--base", "team/bert").stdout.startswith("bob/film\t")
