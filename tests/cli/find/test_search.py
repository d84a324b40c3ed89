import json
from collections.abc import Callable
from datetime import datetime

from click.testing import Result

from tests.support.hub import Hub
from tests.support.roundtrip import peft_files

Run = Callable[..., Result]
FILM = peft_files("team/bert", pipeline_tag="text-classification")


def test_adapters_of_a_base_model_on_a_hub(run: Run, hub: Hub) -> None:
    hub.create("bob/film", FILM)
    wanted = ("search", "--from", hub.url, "--base", "team/bert")
    (document,) = json.loads(run(*wanted, "film", "--json").stdout)
    assert document["repository"] == "bob/film"
    made = datetime.fromisoformat(document["updated_at"])
    assert made == hub.repos["bob/film"].changed_at
    shown = run(*wanted, "--task", "text-classification").stdout
    expected = ("bob/film", "text-classification", "team/bert", "peft", "0", f"{made:%Y-%m-%d}")
    assert shown == "\t".join(expected) + "\n"


def test_nothing_found_is_told(run: Run, hub: Hub) -> None:
    result = run("search", "--from", hub.url, "--base", "team/bert")
    assert (result.stdout, result.stderr) == ("", "No adapters found.\n")


def test_a_word_in_place_of_the_hub_is_refused(run: Run) -> None:
    assert "film is not a hub's address" in run("search", "--from", "film", status=2).stderr


def test_the_default_hub_is_that_of_the_stock_client(run: Run, hub: Hub) -> None:
    hub.create("bob/film", FILM)
    found = run("search", "--base", "team/bert", HF_ENDPOINT=hub.url)
    assert found.stdout.startswith("bob/film\t")


def test_the_hub_may_be_named_as_it_was_before(run: Run, hub: Hub) -> None:
    hub.create("bob/film", FILM)
    assert run("search", "--remote", hub.url, "--base", "team/bert").stdout.startswith("bob/film\t")
