"""The same request gets the same answer again, and only for as long as that is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.accounts.tokens import Tokens
from registry.errors import DamagedBlobError
from registry.history.changes import Put, Remove
from registry.history.committing import Committer
from registry.history.history import History
from registry.history.repositories import Repository
from registry.history.trees import TreeFile
from registry.server import admitting, memory
from registry.server.hub import Hub
from registry.server.memory import key_of
from registry.server.protocol import files
from registry.server.serving import AT_ONCE
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.asgi import Ask
from tests.support.people import People
from tests.support.trees import info_of, stored

PATH = "/alice/mine/resolve/main/w.bin"
SMALL = b"0123456789"
LARGE = os.urandom(AT_ONCE + 1)


def put(people: People, mine: Repository, content: bytes, path: str = "w.bin") -> None:
    stored(people.catalog.blobs, {path: content})
    change = Put(TreeFile.pointed(path, info_of(content)))
    Committer(people.catalog.store).commit(mine, "main", [change], title="Put", actor="alice")


@pytest.fixture
def mine(people: People) -> Repository:
    """alice/mine, private, with a file."""
    made = people.make("alice/mine", "private")
    put(people, made, SMALL)
    return made


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that handlers were asked for, not those that were answered again."""
    asked: list[str] = []
    found = files._found

    def noted(hub: Hub, ask: Any) -> Any:
        asked.append(ask.path)
        return found(hub, ask)

    monkeypatch.setattr(files, "_found", noted)
    return asked


@pytest.mark.parametrize(("method", "content"), [("GET", SMALL), ("GET", LARGE), ("HEAD", SMALL)])
def test_the_same_request_is_handled_once_and_answered_each_time(
    asks: Ask,
    people: People,
    mine: Repository,
    handled: list[str],
    hub: Hub,
    method: str,
    content: bytes,
) -> None:
    put(people, mine, content)
    answers = [asks(method, PATH, by="alice") for _ in range(6)]
    told = [{**one.headers, "x-request-id": ""} for one in answers]
    assert all(one == told[0] for one in told)
    assert len({one.headers["x-request-id"] for one in answers}) == 6
    assert {one.body for one in answers} == {content if method == "GET" else b""}
    assert len(handled) < 6, "none was answered again"
    downloads, uses = hub.counts.take()
    assert downloads == ({mine.id: 6} if method == "GET" else {})
    assert len(uses) == 1


def test_that_a_file_is_not_there_is_told_again_until_it_is(
    asks: Ask, people: People, mine: Repository, handled: list[str]
) -> None:
    path = "/alice/mine/resolve/main/other.bin"
    for _ in range(5):
        assert asks("HEAD", path, by="alice").code == "EntryNotFound"
    assert len(handled) < 5
    put(people, mine, b"there", "other.bin")
    assert asks("HEAD", path, by="alice").status == 200


def warm(asks: Ask, by: str | None = "alice") -> None:
    for _ in range(3):
        assert asks("GET", PATH, by=by).status == 200


def push(people: People, mine: Repository) -> None:
    put(people, mine, b"new")


def remove(people: People, mine: Repository) -> None:
    committer = Committer(people.catalog.store)
    committer.commit(mine, "main", [Remove("w.bin")], title="Remove", actor="alice")


def revoke(people: People, mine: Repository) -> None:
    Tokens(people.catalog.store).revoke("alice", "laptop")


def delete(people: People, mine: Repository) -> None:
    History(people.catalog.store).delete(mine, "alice")


def move(people: People, mine: Repository) -> None:
    history = History(people.catalog.store)
    history.move(mine, mine.ref.__class__("alice", "moved"), account_id=mine.account_id, actor="a")


@pytest.mark.parametrize(
    ("change", "status"), [(push, 200), (remove, 404), (revoke, 401), (delete, 404), (move, 307)]
)
def test_after_a_change_it_is_asked_anew(
    asks: Ask,
    people: People,
    mine: Repository,
    change: Callable[[People, Repository], None],
    status: int,
) -> None:
    warm(asks)
    change(people, mine)
    answer = asks("GET", PATH, by="alice")
    assert answer.status == status
    assert answer.body != SMALL


def test_what_becomes_private_is_hidden_from_strangers_at_once(
    asks: Ask, people: People, mine: Repository
) -> None:
    history = History(people.catalog.store)
    history.set_visibility(mine, "public", "alice")
    warm(asks, None)
    history.set_visibility(mine, "private", "alice")
    assert asks("GET", PATH).status == 401


def test_nobody_is_given_the_answer_of_another_one(
    asks: Ask, people: People, mine: Repository
) -> None:
    warm(asks)
    for by, status in ((None, 401), ("bob", 404), ("nonsense", 401)):
        assert asks("GET", PATH, by=by).status == status
    assert asks("GET", PATH, by="alice", host="evil.example").status == 421
    assert asks("POST", PATH, by="alice").status == 405


def test_a_token_that_expires_meanwhile_is_refused(
    asks: Ask, people: People, mine: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(people.catalog.store)
    expiring = tokens.create("alice", "short", "read", expires_at=datetime.now(UTC) + HOUR)
    people.tokens["short"] = expiring
    warm(asks, "short")

    class Later(datetime):
        @classmethod
        def now(cls, zone: Any = None) -> Any:
            return datetime.now(zone) + 2 * HOUR

    monkeypatch.setattr(admitting, "datetime", Later)
    assert asks("GET", PATH, by="short").status == 401


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({"range": "bytes=2-4"}, 206, b"234"),
        ({"range": "bytes=99-"}, 416, None),
        ({"range": "bytes=2-4", "if-range": f'"{info_of(SMALL).sha256}"'}, 206, b"234"),
        ({"range": "bytes=2-4", "if-range": '"other"'}, 200, SMALL),
        ({"if-none-match": f'"{info_of(SMALL).sha256}"'}, 304, b""),
        ({"if-none-match": '"other"'}, 200, SMALL),
    ],
)
def test_what_asks_for_less_gets_less(
    asks: Ask,
    people: People,
    mine: Repository,
    headers: Mapping[str, str],
    status: int,
    body: bytes | None,
) -> None:
    warm(asks)
    for _ in range(2):
        answer = asks("GET", PATH, by="alice", headers=headers)
        assert answer.status == status
        assert body is None or answer.body == body
    assert asks("GET", PATH, by="alice").body == SMALL


@pytest.mark.sqlite
def test_a_file_that_is_damaged_meanwhile_is_not_sent(
    asks: Ask, people: People, mine: Repository
) -> None:
    put(people, mine, LARGE)
    warm(asks)
    blobs = people.catalog.blobs
    assert isinstance(blobs, FolderBlobStore)
    path = blobs.path(info_of(LARGE).sha256)
    path.chmod(0o600)
    path.write_bytes(bytes(len(LARGE)))
    with pytest.raises(DamagedBlobError):
        asks("GET", PATH, by="alice")


def test_a_small_file_that_memory_has_no_room_for_any_more_is_read_again(
    asks: Ask, people: People, mine: Repository, hub: Hub
) -> None:
    warm(asks)
    hub.downloads._intact._contents.clear()
    warm(asks)


def scope(**changes: Any) -> dict[str, Any]:
    headers = [(b"host", b"h"), (b"authorization", b"Bearer x"), (b"accept", b"*/*")]
    usual = {"method": "GET", "raw_path": b"/a", "query_string": b"", "headers": headers}
    return usual | changes


def test_requests_are_told_apart_by_all_that_an_answer_depends_on() -> None:
    one = key_of(scope())
    assert one == key_of(scope(headers=[*scope()["headers"], (b"user-agent", b"other")]))
    others = [
        scope(method="HEAD"),
        scope(raw_path=b"/b"),
        scope(query_string=b"a=1"),
        scope(headers=[(b"host", b"h")]),
        scope(headers=[(b"host", b"h"), (b"authorization", b"Bearer y")]),
        scope(headers=[(b"host", b"other"), (b"authorization", b"Bearer x")]),
        scope(headers=[(b"authorization", b"h"), (b"host", b"Bearer x")]),
    ]
    keys = [one, *map(key_of, others)]
    assert None not in keys
    assert len({*keys}) == len(keys)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "POST"},
        {"headers": [(b"range", b"bytes=0-1")]},
        {"headers": [(b"if-none-match", b"x")]},
        {"raw_path": b"/" * memory.MOST_BYTES},
    ],
)
def test_some_requests_are_never_answered_again(changes: dict[str, Any]) -> None:
    assert key_of(scope(**changes)) is None
