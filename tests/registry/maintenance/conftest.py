"""A registry in which everything happened, and registries on each database and storage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from registry import AdapterRef, Catalog, Folder, Version, open_catalog
from registry.accounts.accounts import Accounts
from registry.history.commits import Commit
from registry.history.committing import Committer
from registry.history.repositories import Repository
from registry.maintenance.fsck import Report
from registry.places import Kind, Visibility
from registry.tables.models import ACCOUNTS
from tests.registry.history.conftest import files_of, puts
from tests.support.measurements import measurement
from tests.support.object_storage import BUCKET, endpoint, memory, s3, s3_client
from tests.support.remembered import Remembered
from tests.support.servers import sharing_connections

__all__ = ["endpoint", "memory", "s3", "s3_client"]

_FOLDERS = 40
"""More than it takes to fill a registry."""

CARD = b"---\nlicense: mit\nlanguage: de\ntags: [x, y]\n---\n# Pushed\n"
ONE, TWO, GONE = map(AdapterRef.parse, ("alice/One", "two", "gone"))


@pytest.fixture(params=["folder", "memory", "s3"])
def open_anywhere(
    request: pytest.FixtureRequest, tmp_path: Path, database: Callable[[str], str | None]
) -> Iterator[Callable[[str], Catalog]]:
    """As `open_registry`, with the bytes in a folder, or in object storage of some kind."""
    if request.param != "folder":
        request.getfixturevalue(request.param)
    opened = []

    def open_named(name: str) -> Catalog:
        storage = None if request.param == "folder" else f"s3://{BUCKET}/{name}"
        url = database(name)
        with sharing_connections():
            opened.append(open_catalog(tmp_path / name, database=url, storage=storage))
        return opened[-1]

    yield open_named
    for catalog in opened:
        catalog.close()


@pytest.fixture
def busy(
    catalog: Catalog,
    other_catalog: Catalog,
    make_folder: Callable[..., Folder],
    remembered: Remembered,
) -> Catalog:
    """A registry in which everything was done that can be done."""

    def fill() -> None:
        make_busy(catalog, other_catalog, make_folder)

    return filled("busy", remembered, [catalog, other_catalog], make_folder, fill)


@pytest.fixture
def hub(
    catalog: Catalog,
    other_catalog: Catalog,
    make_folder: Callable[..., Folder],
    remembered: Remembered,
) -> Catalog:
    """The same, with repositories of every kind that people pushed to."""

    def fill() -> None:
        make_busy(catalog, other_catalog, make_folder)
        push_everything(catalog, make_folder)

    return filled("hub", remembered, [catalog, other_catalog], make_folder, fill)


def filled(
    what: str,
    remembered: Remembered,
    catalogs: Sequence[Catalog],
    make_folder: Callable[..., Folder],
    fill: Callable[[], None],
) -> Catalog:
    """Fill empty registries as they were filled the first time; return the first of them."""
    _, new = remembered.fill(what, catalogs, fill)
    if not new:
        for _ in range(_FOLDERS):  # the next ones hold other bytes than those that are published
            make_folder()
    return catalogs[0]


def make_busy(catalog: Catalog, source: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """Do everything in a registry that can be done."""
    gone = make_folder()
    catalog.publish(ONE, make_folder(tags=["b", "a"]), message="ünï", author="Ada")
    version = catalog.publish(ONE, make_folder(), number=7)
    catalog.publish(AdapterRef.parse("ALICE/one"), make_folder())
    catalog.set_alias(version.ref, "best")
    catalog.set_alias(ONE, "stable")
    catalog.set_alias(ONE, "gone")
    catalog.remove_alias(ONE, "gone")
    catalog.record(version.ref, [measurement(), measurement(metric="mae", low=None, high=None)])
    catalog.record(version.ref, [measurement(value=0.75)])
    catalog.yank(ONE.at(1), "wrong labels")
    catalog.yank(ONE.at(8), "oops")
    catalog.unyank(ONE.at(8))
    original = source.publish(TWO, make_folder())
    source.yank(original.ref, "leaked")
    pulled = catalog.pull(original.ref, source)
    parents = [_parent(pulled), _parent(version)]
    catalog.publish(TWO, make_folder(kind="fusion", parents=parents))
    catalog.publish(GONE, gone)
    catalog.record(GONE, [measurement()])
    catalog.delete(GONE)
    _add_accounts(catalog)
    return catalog


def push_everything(catalog: Catalog, make_folder: Callable[..., Folder]) -> None:
    """Do everything in repositories of Alice and Acme that a hub can be told to."""
    history, ids = catalog.history, account_ids(catalog)

    def made(place: str, kind: Kind = "model", visibility: Visibility = "public") -> Repository:
        ref = AdapterRef.parse(place)
        owner = ids[AdapterRef(ref.owner, "any").folded.partition("/")[0]]
        return history.create(
            kind, ref, account_id=owner, visibility=visibility, actor="Alice (laptop)"
        )

    def push(there: Repository, files: Mapping[str, bytes], **how: Any) -> Commit:
        changes = puts(catalog, files)
        how = {"branch": "main", "title": "push", "actor": "Alice (laptop)"} | how
        return Committer(catalog.store).commit(there, how.pop("branch"), changes, **how)

    pushed = made("Alice/pushed", visibility="private")
    push(pushed, {"README.md": CARD, "notes/a.txt": b"a"}, description="why")
    push(pushed, files_of(make_folder(tags=["pushed"])), title="An adapter")
    first = push(pushed, {"README.md": CARD + b"more"})
    history.create_branch(pushed, "work/x", first, "Alice")
    push(pushed, {"config.json": b"{}", "w.bin": b"weights"}, branch="work/x")
    push(pushed, files_of(make_folder()), branch="work/x", description="Version: 5")
    history.create_branch(pushed, "gone", first, "Alice")
    history.delete_branch(pushed, "gone", "Alice")
    history.create_tag(pushed, "best", first, "it is", "Alice")
    history.create_tag(pushed, "v9", first, None, "Alice")
    history.create_tag(pushed, "gone", first, None, "Alice")
    history.delete_tag(pushed, "gone", "Alice")
    history.set_visibility(pushed, "public", "Alice")
    catalog.publish(pushed.ref, make_folder(), message="by hand")

    reviews = made("alice/Reviews", "dataset", "private")
    push(reviews, {"train.csv": b"a,b", "data/big.parquet": b"rows"})
    history.create_tag(reviews, "v1", history.resolve(reviews, "main"), None, "Alice")
    lost = made("acme/lost", "space")
    push(lost, {"app.py": b"print()"})
    history.delete(lost, "Alice")

    squashed = made("acme/squashed")
    push(squashed, {"a.txt": b"1"})
    push(squashed, files_of(make_folder()))
    push(squashed, {"a.txt": b"2"})
    history.squash(squashed, "main", "All of it", "Alice")
    push(squashed, {"a.txt": b"3"})

    again = made("acme/again")
    push(again, files_of(make_folder()))
    history.create_tag(again, "v7", history.resolve(again, "main"), None, "Alice")
    history.delete(again, "Alice")
    push(made("acme/again", visibility="private"), files_of(make_folder()))

    for kind, name in (("model", "alice/Before"), ("dataset", "alice/rows")):
        moved = made(name, kind)
        push(moved, files_of(make_folder()))
        for to in ("acme/After", "alice/between", "acme/After"):
            owner = ids[to.partition("/")[0]]
            history.move(moved, AdapterRef.parse(to), account_id=owner, actor="Alice")
        # As a hub does that asked for it just before.
        history.create_branch(moved, "late", history.resolve(moved, "main"), "Alice")
        there = history.find(kind, AdapterRef.parse(name))
        assert there is not None
        push(there, {"later.txt": b"later"})
    catalog.set_alias(AdapterRef.parse("acme/After"), "best")
    gone = made("alice/went")
    push(gone, files_of(make_folder()))
    history.move(gone, AdapterRef.parse("acme/went"), account_id=ids["acme"], actor="Alice")
    history.delete(history.find("model", gone.ref) or gone, "Alice")
    for kind in ("model", "dataset"):  # the second name leads to what is made anew
        first = made("acme/first", kind)
        push(first, files_of(make_folder()))
        history.move(first, AdapterRef.parse("acme/second"), account_id=ids["acme"], actor="Alice")
        history.delete(history.get(first.id), "Alice")
        push(made("acme/first", kind, "private"), files_of(make_folder()))
    parents = made("alice/parent"), made("acme/secret", visibility="private")
    _delete_parents(catalog, make_folder, *parents)
    assert history.complete_listings() > 0


def _delete_parents(
    catalog: Catalog, make_folder: Callable[..., Folder], *parents: Repository
) -> None:
    """Delete what others are made of; one of these, too, and what was needed for it."""
    for number, parent in enumerate(parents):
        one = catalog.publish(parent.ref, make_folder())
        two = catalog.publish(parent.ref, make_folder(kind="stack", parents=[_parent(one)]))
        fused = AdapterRef.parse(f"fused-{number}")
        catalog.publish(fused, make_folder(kind="fusion", parents=[_parent(two)]))
        mixed = make_folder(kind="mix", parents=[_parent(one)])
        catalog.publish(AdapterRef.parse("passing"), mixed)
        catalog.history.delete(parent, "Alice")
    catalog.delete(AdapterRef.parse("fused-1"))


def account_ids(catalog: Catalog) -> dict[str, int]:
    """The ids of accounts by their folded names."""
    with catalog.database.read() as connection:
        rows = connection.execute(select(ACCOUNTS.c.folded, ACCOUNTS.c.id))
        return {row.folded: row.id for row in rows}


def _add_accounts(catalog: Catalog) -> None:
    """Add users and an organisation, and change and remove some; none has a credential."""
    accounts = Accounts(catalog.store)
    for name in ("Alice", "bob", "carol", "gone"):
        accounts.add_user(name, admin=name == "carol")
    accounts.change_user("bob", admin=True)
    accounts.change_user("carol", admin=False)
    for name in ("Acme", "old"):
        accounts.add_organisation(name)
        accounts.set_member(name, "alice", "admin")
        accounts.set_member(name, "gone", "write")
        accounts.set_member(name, "bob", "read")
    accounts.set_member("acme", "bob", "write")
    accounts.set_member("acme", "carol", "read")
    accounts.set_member("acme", "carol", None)
    accounts.remove("gone")
    accounts.remove("old")


def _parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


METRIC = {
    "dataset": "sst2",
    "split": "test",
    "name": "accuracy",
    "value": 0.5,
    "higher_is_better": True,
}


@pytest.fixture
def stack(catalog: Catalog, make_folder: Callable[..., Folder]) -> Version:
    one = catalog.publish(AdapterRef.parse("one"), make_folder())
    parents = [{"ref": str(one.ref), "digest": one.manifest_digest}]
    folder = make_folder(
        content=b"right", kind="stack", parents=parents, tags=["t"], metrics=[METRIC]
    )
    published = catalog.publish(AdapterRef.parse("alice/sst2"), folder)
    catalog.set_alias(published.ref, "best")
    return catalog.resolve(published.ref)


def damage(path: Path, content: bytes | None) -> None:
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)


def texts(report: Report) -> str:
    return "\n".join(finding.text for finding in report.findings)


@pytest.fixture
def version(stack: Version) -> Version:
    return stack
