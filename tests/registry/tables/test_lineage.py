from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import ParentNotFoundError
from registry.tables.lineage import Relative, find_ancestors, find_descendants

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
