"""A registry in which everything happened, and registries on each database and storage."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Version, open_catalog
from registry.accounts.accounts import Accounts
from registry.maintenance.fsck import Report
from tests.support.measurements import measurement
from tests.support.object_storage import BUCKET, endpoint, s3

__all__ = ["endpoint", "s3"]

ONE, TWO, GONE = map(AdapterRef.parse, ("alice/One", "two", "gone"))


@pytest.fixture(params=["folder", "objects"])
def open_anywhere(
    request: pytest.FixtureRequest, tmp_path: Path, database: Callable[[str], str | None]
) -> Iterator[Callable[[str], Catalog]]:
    """As `open_registry`, with the bytes in a folder and in object storage."""
    if request.param == "objects":
        request.getfixturevalue("s3")
    opened = []

    def open_named(name: str) -> Catalog:
        storage = f"s3://{BUCKET}/{name}" if request.param == "objects" else None
        home = tmp_path / name
        opened.append(open_catalog(home, database=database(name), storage=storage))
        return opened[-1]

    yield open_named
    for catalog in opened:
        catalog.close()


@pytest.fixture
def busy(catalog: Catalog, other_catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    return make_busy(catalog, other_catalog, make_folder)


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


def _add_accounts(catalog: Catalog) -> None:
    """Add users and an organisation, and change and remove some; none has a credential."""
    accounts = Accounts(catalog.store)
    for name in ("Alice", "bob", "carol", "gone"):
        accounts.add_user(name, admin=name == "carol", actor="Alice (laptop)")
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
