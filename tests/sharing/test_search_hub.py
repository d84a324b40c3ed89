from __future__ import annotations

import pytest

from hubkit.hub.address import Hub as Address
from hubkit.sharing.search_hub import search_remote
from registry import Catalog
from tests.support.hub import Hub
from tests.support.roundtrip import peft_files, pull, push
from tests.support.shelf import publish_lora


def found(hub: Hub, **wanted: object) -> list[str]:
    address = Address.parse(hub.url)
    return [one.repository for one in search_remote(address, **wanted)]  # type: ignore[arg-type]


@pytest.fixture
def filled(catalog: Catalog, hub: Hub) -> Hub:
    """With an adapter of hubkit, one of PEFT, a private one, and a model that is none.

    The hub knows what PEFT pushed, too.
    """
    publish_lora(catalog, tags=["short"])
    push(catalog, hub, "film")
    hub.create("bob/peft-film", peft_files("team/bert"))
    hub.create("bob/secret", peft_files("team/bert"), private=True)
    hub.create("bob/model", {"README.md": b"---\npipeline_tag: fill-mask\n---\n"})
    return hub


def test_adapters_of_a_base_model_are_found_whoever_made_them(filled: Hub) -> None:
    assert found(filled, base="tiny-bert") == ["ada/film"]
    assert found(filled, base="team/bert") == ["bob/peft-film"]
    assert found(filled, base="team/bert", text="film", owner="bob") == ["bob/peft-film"]
    assert found(filled, base="team/roberta") == []


def test_what_the_hub_makes_no_version_of_is_found_by_its_base_too(hub: Hub) -> None:
    repo = hub.create("bob/card", {"README.md": peft_files("team/bert")["README.md"]})
    assert repo.tags == {}
    assert found(hub, base="team/bert") == ["bob/card"]


def test_adapters_are_found_by_task_tag_and_name(filled: Hub) -> None:
    assert sorted(found(filled)) == ["ada/film", "bob/peft-film"]
    assert found(filled, task="film") == ["ada/film"]
    assert found(filled, task="weather") == []
    assert found(filled, tags=["short", "lora"]) == ["ada/film"]
    assert found(filled, text="nothing") == []
    assert found(filled, base="tiny-bert", limit=1) == ["ada/film"]


def test_what_is_found_says_what_it_is(filled: Hub, other_catalog: Catalog) -> None:
    pull(other_catalog, filled, "ada/film")
    filled.served.write_counts()
    (one,) = search_remote(Address.parse(filled.url), base="tiny-bert")
    assert (one.base_models, one.library, one.downloads) == (("tiny-bert",), "peft", 1)
    assert one.updated_at is not None
    assert {"adapter", "hubkit", "lora", "film"} <= set(one.tags)
