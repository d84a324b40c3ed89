"""PostgreSQL: connections that are cut before every step of every change, while another writes.

A lock is lost with its connection, and whoever held it goes on with its files. What anybody
acknowledged must be there all the same, in the database and in one made anew from the records. A
few steps in the suite, all of them in `make torture`.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from registry import AdapterRef, Catalog, Folder, HubkitError, Version, open_catalog, read_folder
from registry.home import find_catalog
from registry.log import folder_records
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.maintenance.rebuild import rebuild
from registry.storage import durable, folder_blobs
from tests.registry.conftest import _administer, _empty, _url, postgresql
from tests.support.power import before_each_step

__all__ = ["postgresql"]

pytestmark = pytest.mark.postgresql

KEPT, SAME, NEW, RIVAL = map(AdapterRef.parse, ("kept", "same", "new", "rival"))
AT_ONCE = timedelta(0)


def publish(catalog: Catalog, folder: Folder) -> None:
    catalog.publish(NEW, folder)


def alias(catalog: Catalog, folder: Folder) -> None:
    catalog.set_alias(KEPT, "best")


def yank(catalog: Catalog, folder: Folder) -> None:
    catalog.yank(KEPT.at(1), "why")


def delete(catalog: Catalog, folder: Folder) -> None:
    catalog.delete(SAME)


def condemn(catalog: Catalog, folder: Folder) -> None:
    collect_garbage(catalog, grace=AT_ONCE)


def collect(catalog: Catalog, folder: Folder) -> None:
    collect_garbage(catalog, grace=AT_ONCE)


OPERATIONS = (publish, alias, yank, delete, condemn, collect)
Operation = Callable[[Catalog, Folder], None]


def cut_all(url: str) -> None:
    with psycopg.connect(f"{url.rpartition('/')[0]}/postgres", autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [url.rpartition("/")[2]],
        )


@pytest.fixture
def url(postgresql: dict[str, str]) -> Iterator[str]:
    name = postgresql.get("cuts")
    if name is None:
        name = postgresql["cuts"] = f"{postgresql['template']}_cuts"
        _administer(f"CREATE DATABASE {name} TEMPLATE {postgresql['template']}")
    yield _url(name)
    _empty(name)


@pytest.fixture(autouse=True)
def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no other thread do a rival's steps, which would wait for the step that is watched."""

    def in_turn(calls: Sequence[Callable[[], object]]) -> None:
        for call in calls:
            call()

    for module in (durable, folder_blobs, folder_records):
        monkeypatch.setattr(module, "at_once", in_turn)


class Cut:
    """Cuts all connections before one step of a block, and lets a rival publish there.

    Args:
        at: Before which step.
        url: Whose connections.
        rival: What to do then; what it returns is acknowledged.
    """

    def __init__(self, at: int, url: str, rival: Callable[[], Version]) -> None:
        self.acknowledged: list[Version] = []
        self.reached = False
        self._left, self._url, self._rival = at, url, rival

    def __call__(self, name: str) -> None:
        self._left -= 1
        if self._left == 0 and not self.reached:
            self.reached = True
            cut_all(self._url)
            with suppress(HubkitError):  # to be refused is fair
                self.acknowledged.append(self._rival())


EVERY_STEP = [pytest.mark.torture, pytest.mark.timeout(0)]


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        *((publish, 31), (collect, 31)),
        *(pytest.param(operation, 1, marks=EVERY_STEP) for operation in OPERATIONS),
    ],
)
def test_whatever_step_connections_are_cut_before_what_was_acknowledged_is_there(
    tmp_path: Path,
    url: str,
    make_folder: Callable[..., Folder],
    operation: Operation,
    stride: int,
) -> None:
    same, kept, new, other = (make_folder() for _ in range(4))
    home, at = tmp_path / "home", stride
    while True:
        shutil.rmtree(home, ignore_errors=True)
        _empty(url.rpartition("/")[2])
        ours, rival = (open_catalog(home, database=url) for _ in range(2))
        done = [ours.publish(KEPT, kept)]
        ours.publish(SAME, same)
        if operation in (condemn, collect):
            ours.delete(SAME)  # and the rival publishes what is garbage now
        if operation is collect:
            assert collect_garbage(ours, grace=AT_ONCE).condemned > 0
        theirs = same if operation in (condemn, collect) else other
        cut = Cut(at, url, partial(rival.publish, RIVAL, theirs))
        with before_each_step(cut), suppress(HubkitError):
            operation(ours, new)
            if operation is publish:
                done.append(ours.resolve(NEW))
        ours.close()
        rival.close()
        require_there(home, url, [*done, *cut.acknowledged])
        if not cut.reached:
            break
        at += stride
    assert at > stride


def require_there(home: Path, url: str, done: list[Version]) -> None:
    """Collect twice, check, lose the database, make it anew, and check again."""
    catalog = open_catalog(home, database=url)
    for _ in range(2):
        collect_garbage(catalog, grace=AT_ONCE)
    report = check_registry(catalog, full=True)
    assert report.status == 0, report.findings
    more = catalog.publish(AdapterRef.parse("more"), read_folder(catalog.folder(done[0])))
    for version in (*done, more):
        assert catalog.resolve(version.ref).manifest_digest == version.manifest_digest
        catalog.folder(version)
    catalog.close()
    _empty(url.rpartition("/")[2])
    again = find_catalog(home, database=url)
    assert rebuild(again).problems == ()
    for version in (*done, more):
        assert again.resolve(version.ref).manifest_digest == version.manifest_digest
    assert check_registry(again, full=True).status == 0
    again.close()
