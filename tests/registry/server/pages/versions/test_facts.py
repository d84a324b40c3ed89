from __future__ import annotations

import pytest

from registry.server.pages.versions.facts import UNSEEN
from tests.registry.server.pages.conftest import Publish, facts
from tests.support.asgi import Ask
from tests.support.html import read

pytestmark = pytest.mark.once


def test_a_fusion_names_what_it_is_made_of_and_what_uses_it(asks: Ask, publish: Publish) -> None:
    one, other = publish("alice/one"), publish("bob/other")
    both = publish("alice/both", parents=(one, other))
    publish("bob/top", parents=(both,))
    page = read(asks("GET", "/alice/both"))
    known = facts(page)
    assert (known["Made of"], known["Used by"]) == ("alice/one@1, bob/other@1", "bob/top@1")
    assert page.links["bob/other@1"] == "/bob/other?revision=v1"
    assert "Used by" in facts(read(asks("GET", "/alice/one")))


def test_a_hidden_parent_or_user_is_never_named(asks: Ask, publish: Publish) -> None:
    shown, secret = publish("alice/shown"), publish("bob/secret", visibility="private")
    publish("alice/both", parents=(shown, secret))
    publish("bob/hidden-user", parents=(shown,), visibility="private")
    for by in (None, "carol"):
        answer = asks("GET", "/alice/both", by=by)
        assert facts(read(answer))["Made of"] == f"alice/shown@1, {UNSEEN}"
        assert b"secret" not in answer.body
        answer = asks("GET", "/alice/shown", by=by)
        assert facts(read(answer))["Used by"] == "alice/both@1"
        assert b"hidden-user" not in answer.body
    assert "bob/secret@1" in facts(read(asks("GET", "/alice/both", by="bob")))["Made of"]


def test_a_setting_that_names_another_adapter_is_not_shown(asks: Ask, publish: Publish) -> None:
    over = {"ref": "bob/secret@1", "digest": "00" * 32}
    training = {"arguments": {"epochs": 3, "over": over}, "seed": 1, "examples": 9, "seconds": 2.5}
    publish("alice/a", training=training)
    answer = asks("GET", "/alice/a")
    assert facts(read(answer), 0)["Settings"] == "epochs = 3"
    assert b"secret" not in answer.body


def test_many_labels_and_tags_are_cut_and_counted(asks: Ask, publish: Publish) -> None:
    publish("alice/a", labels=[f"label-{number}" for number in range(1, 1201)])
    shown = facts(read(asks("GET", "/alice/a")))["Labels"]
    assert shown.startswith("label-1, label-2, ")
    assert shown.endswith("label-50 and 1,150 more")
