from collections.abc import Callable
from typing import Any

from registry import AdapterRef, Catalog, Folder, Version
from registry.tables.lineage import Relative, find_ancestors, find_descendants


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
    with catalog.database.read() as session:
        ancestors = find_ancestors(session, other.manifest_digest)
        descendants = find_descendants(session, one.manifest_digest)
        nothing = find_ancestors(session, one.manifest_digest)
    assert names(ancestors) == {
        "top@1": {"both@1": {"two@1": {}, "one@1": {}}, "one@1": {}},
        "both@1": "repeated",
    }
    assert names(descendants) == {
        "both@1": {"top@1": {"other@1": {}}, "other@1": {}},
        "top@1": "repeated",
    }
    assert nothing == ()
