from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import ParentNotFoundError
from registry.tables import lineage as module
from registry.tables.lineage import (
    Relative,
    Relatives,
    find_ancestors,
    find_descendants,
    find_relatives,
)
from registry.tables.models import REPOSITORIES

MakeFolder = Callable[..., Folder]


def parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


def names(relatives: tuple[Relative, ...]) -> dict[str, Any]:
    return {
        relative.ref: "repeated" if relative.repeated else names(relative.relatives)
        for relative in relatives
    }


def test_trees_go_all_the_way_both_ways(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    def publish(name: str, *parents: Version) -> Version:
        pinned = [{"ref": str(p.ref), "digest": p.manifest_digest} for p in parents]
        kind = "stack" if parents else "adapter"
        return catalog.publish(AdapterRef.parse(name), make_folder(kind=kind, parents=pinned))

    one, two = publish("one"), publish("two")
    both = publish("both", two, one)
    top = publish("top", both, one)
    other = publish("other", top, both)
    with catalog.database.read() as connection:
        ancestors = find_ancestors(connection, other.manifest_digest)
        descendants = find_descendants(connection, one.manifest_digest)
        nothing = find_ancestors(connection, one.manifest_digest)
    assert names(ancestors) == {
        "top@1": {"both@1": {"two@1": {}, "one@1": {}}, "one@1": {}},
        "both@1": "repeated",
    }
    assert names(descendants) == {
        "both@1": {"top@1": {"other@1": {}}, "other@1": {}},
        "top@1": "repeated",
    }
    assert nothing == ()


def test_parents_come_in_the_order_of_the_manifest_or_the_missing_one_is_named(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    one, two = (catalog.publish(AdapterRef.parse(name), make_folder()) for name in ("one", "two"))
    pinned = [{"ref": str(p.ref), "digest": p.manifest_digest} for p in (two, one)]
    both = catalog.publish(AdapterRef.parse("both"), make_folder(kind="stack", parents=pinned))
    assert catalog.parents(both) == [two, one]
    assert catalog.parents(one) == []
    with catalog.database.write() as connection:
        connection.execute(
            text("UPDATE parents SET digest = :other WHERE ref = 'one@1'"), {"other": "0" * 64}
        )
    with pytest.raises(ParentNotFoundError, match=r"both@1 is made of one@1 \(0{12}\)"):
        catalog.parents(both)


def test_lineage_links_parents_in_order_and_children(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    one = catalog.publish(AdapterRef.parse("one"), make_folder())
    two = catalog.publish(AdapterRef.parse("two"), make_folder())
    fused = catalog.publish(
        AdapterRef.parse("fused"), make_folder(kind="fusion", parents=[parent(two), parent(one)])
    )
    lineage = catalog.lineage(fused)
    assert [(link.ref, link.version) for link in lineage.parents] == [
        ("two@1", two),
        ("one@1", one),
    ]
    assert lineage.children == ()
    assert catalog.lineage(one).children == (fused,)
    assert catalog.lineage(one).parents == ()


PUBLIC = REPOSITORIES.c.visibility == "public"


@pytest.fixture
def publish(catalog: Catalog, make_folder: MakeFolder) -> Callable[..., Version]:
    """Publish something that is made of others, which everybody or nobody may see."""

    def publish(name: str, *parents: Version, hidden: bool = False) -> Version:
        kind = "stack" if parents else "adapter"
        folder = make_folder(kind=kind, parents=[parent(one) for one in parents])
        made = catalog.publish(AdapterRef.parse(name), folder)
        change = update(REPOSITORIES).where(REPOSITORIES.c.name == name)
        with catalog.database.write() as connection:
            connection.execute(change.values(visibility="private" if hidden else "public"))
        return made

    return publish


def seen(catalog: Catalog, version: Version, which: str, **limits: int) -> Relatives:
    limits = {"levels": 3, "most": 9} | limits
    with catalog.database.read() as connection:
        return find_relatives(connection, version.manifest_digest, which, PUBLIC, **limits)


def shown(relatives: Relatives) -> list[str | None]:
    return [one and str(one.ref) for one in relatives.members.values()]


def test_a_hidden_parent_has_no_name_and_what_it_is_made_of_is_not_told(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    open_one, secret = publish("open"), publish("secret", hidden=True)
    hidden = publish("hidden", secret, hidden=True)
    both = publish("both", hidden, open_one)
    top = publish("top", both)
    found = seen(catalog, top, "parents")
    assert shown(found) == ["both@1", None, "open@1"]
    assert [*found.members] == [
        both.manifest_digest,
        hidden.manifest_digest,
        open_one.manifest_digest,
    ]
    assert found.links == (
        (top.manifest_digest, both.manifest_digest),
        (both.manifest_digest, hidden.manifest_digest),
        (both.manifest_digest, open_one.manifest_digest),
    )
    assert (found.more, found.is_counted) == (0, True)


def test_a_hidden_user_is_not_there_nor_what_is_made_of_it(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    one = publish("one")
    hidden = publish("hidden", one, hidden=True)
    publish("above", hidden)
    user = publish("user", one)
    publish("top", user)
    found = seen(catalog, one, "users")
    assert shown(found) == ["user@1", "top@1"]
    assert found.more == 0
    assert shown(seen(catalog, one, "users", levels=1)) == ["user@1"]


def test_a_version_under_a_hidden_name_and_an_open_one_is_seen_under_that(
    catalog: Catalog, publish: Callable[..., Version], make_folder: MakeFolder
) -> None:
    hidden = publish("hidden", hidden=True)
    copied = catalog.publish(AdapterRef.parse("copy"), make_folder(content=b"weights 1"))
    assert copied.manifest_digest == hidden.manifest_digest
    with catalog.database.write() as connection:
        change = update(REPOSITORIES).where(REPOSITORIES.c.name == "copy")
        connection.execute(change.values(visibility="public"))
    assert shown(seen(catalog, publish("user", hidden), "parents")) == ["copy@1"]


def test_many_relatives_are_cut_and_counted(
    catalog: Catalog, publish: Callable[..., Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = publish("one")
    users = [publish(f"user-{number}", one) for number in range(5)]
    found = seen(catalog, one, "users", most=2)
    assert shown(found) == ["user-0@1", "user-1@1"]
    assert (found.more, found.is_counted) == (3, True)
    assert {to for _, to in found.links} == {user.manifest_digest for user in users[:2]}
    monkeypatch.setattr(module, "MOST_LINKS", 4)
    found = seen(catalog, one, "users", most=2)
    assert (found.more, found.is_counted) == (2, False)
