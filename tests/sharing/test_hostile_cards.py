"""Cards that somebody wrote to do harm, or by mistake."""

from __future__ import annotations

import pytest

from registry import Catalog
from registry.errors import FolderError
from registry.folders.card import parse_card
from tests.support.foreign import BASE
from tests.support.hub import Hub
from tests.support.roundtrip import LORA, nothing_in, pull, push

LAUGHS = b"a: &a [1, 2]\n" + b"".join(
    b"%c: &%c [%s]\n" % (ord("b") + i, ord("b") + i, b", ".join([b"*%c" % (ord("a") + i)] * 9))
    for i in range(20)
)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"---\nlicense: mit\n---\n\xff", "is not UTF-8"),
        (b"---\n- a\n- list\n---\n", "is a list; expected fields"),
        (b"---\na: [1\n---\n", "is not YAML"),
        (b"---\n? !!python/object/apply:os.system ['x']\n: 1\n---\n", "is not YAML"),
        (b"---\na: &a [*b]\n---\n", "is not YAML"),
        (b"---\n" + b"[" * 5000 + b"\n---\n", "is not YAML"),
        (b"---\nown: &x [*x]\n---\n", "is inside its own value"),
        (b"---\n" + LAUGHS + b"---\n", "with its repetitions, it is longer than"),
        (
            b"---\nbase_model: someone/roberta\n---\n",
            "says someone/roberta",
        ),
    ],
)
def test_a_card_that_cannot_be_read_is_refused_by_its_address(
    catalog: Catalog, hub: Hub, card: bytes, message: str
) -> None:
    hub.create("bob/film", {**LORA, "README.md": card})
    with pytest.raises(FolderError, match=message) as caught:
        pull(catalog, hub, "bob/film")
    assert str(caught.value).startswith(f"{hub.url}/bob/film")
    assert nothing_in(catalog)


@pytest.mark.parametrize(
    "card",
    [
        b"---\nbase_model: 7\nlicense: {a: b}\ntags: {a: 1}\nlanguage: 3.5\n---\n",
        b"---\n1: 2\n2026-01-01: x\nnull: y\ntags: [1, null, [a], fine]\n---\n",
        b"---\nmodel-index: 5\neval_results: [1]\nmodel_name: 3\n---\n",
        b"---\nmodel-index: [{results: [{}]}]\n---\n",
        b"---\nself: 1\nignore_metadata_errors: 1\n---\n",
        # The stock client falls over these names.
        b"---\nself: 1\n---\n",
        b"---\nignore_metadata_errors: 1\n---\n",
    ],
)
def test_a_card_with_fields_of_any_kind_travels_on(catalog: Catalog, hub: Hub, card: bytes) -> None:
    hub.create("bob/film", {**LORA, "README.md": card})
    here = pull(catalog, hub, "bob/film")
    assert (catalog.folder(here) / "README.md").read_bytes() == card
    push(catalog, hub, "bob/film", "ada/film")
    there = parse_card(hub.repos["ada/film"].files()["README.md"].decode(), BASE)
    assert there.base_models == ("tiny-bert",)
    assert "hubkit" in there.tags
