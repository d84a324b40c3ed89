"""What a client of Xet sends, and what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import lz4.frame
import pytest
from itsdangerous import timed

from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.protocol import xet
from registry.server.signing import PASS_VALID
from registry.server.xet.scratch import FOLDER_NAME
from registry.server.xet.shard import MOST_BODY as MOST_SHARD
from registry.server.xet.xorb import MOST_BODY
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.asgi import Answer, Ask, Client
from tests.support.people import People
from tests.support.xet import Part, chunk, digest, file, header, listed, shard, xorb

pytestmark = pytest.mark.once

BASE = "http://127.0.0.1:8000"
NAME, OTHER = "12" * 32, "34" * 32
CHUNKS = [os.urandom(90_000), b"text " * 9_000, os.urandom(100), bytes(131_072)]
WHOLE = b"".join(CHUNKS)
PART = Part(NAME, len(WHOLE), 0, 4)
SHARD = shard(file([PART], digest(WHOLE)), xorbs=listed(NAME, CHUNKS))
ANSWERS = {"v2/shards": b'{"type": "result"}\n', "v1/shards": b'{"result":1}'}


class Sender:
    """Sends by Xet with a pass."""

    def __init__(self, asks: Ask, repository: str, by: str) -> None:
        self._asks = asks
        answer = asks("GET", f"/api/models/{repository}/xet-write-token/main", by=by)
        assert answer.status == 200, answer.body
        self.told = answer
        self.place = answer.json["casUrl"].removeprefix(BASE)
        self.text = answer.json["accessToken"]

    def xorb(self, content: bytes, name: str = NAME, **more: Any) -> Answer:
        path = f"{self.place}/v1/xorbs/default/{name}"
        return self._asks("POST", path, by=self.text, body=content, **more)

    def shard(self, content: bytes = SHARD, path: str = "v2/shards") -> Answer:
        return self._asks("POST", f"{self.place}/{path}", by=self.text, body=content)


@pytest.fixture
def here(people: People) -> str:
    return people.make("alice/here").full_name


@pytest.fixture
def sender(asks: Ask, here: str) -> Sender:
    return Sender(asks, here, "alice")


def commit(asks: Ask, repository: str, content: bytes, by: str = "alice") -> Answer:
    value = {"path": "m.bin", "algo": "sha256", "oid": digest(content), "size": len(content)}
    lines = ({"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": value})
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return asks("POST", f"/api/models/{repository}/commit/main", by=by, body=body)


def blobs(people: People) -> int:
    store = people.catalog.blobs
    assert isinstance(store, FolderBlobStore)
    return sum(1 for path in store.path("0" * 64).parents[2].rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["v2/shards", "v1/shards", "shards"])
def test_a_file_is_made_of_chunks_committed_and_served(
    asks: Ask, sender: Sender, here: str, path: str
) -> None:
    answer = sender.xorb(xorb(*CHUNKS))
    assert (answer.status, answer.json) == (200, {"was_inserted": True})
    answer = sender.shard(path=path)
    assert (answer.status, answer.body) == (200, ANSWERS.get(path, ANSWERS["v1/shards"]))
    assert commit(asks, here, WHOLE).status == 200
    answer = asks("GET", f"/{here}/resolve/main/m.bin")
    assert answer.body == WHOLE
    assert not {name for name in answer.headers if "xet" in name}


def test_the_pass_is_told_in_the_body_and_in_headers(sender: Sender) -> None:
    told, headers = sender.told.json, sender.told.headers
    assert told["casUrl"] == headers["x-xet-cas-url"] == f"{BASE}{sender.place}"
    assert told["accessToken"] == headers["x-xet-access-token"]
    assert str(told["exp"]) == headers["x-xet-token-expiration"]
    assert abs(told["exp"] - time.time() - PASS_VALID) < 60
    assert sender.place.startswith("/_xet/")


def test_files_are_made_of_ranges_of_several_xorbs(
    asks: Ask, sender: Sender, here: str, people: People
) -> None:
    sender.xorb(xorb(*CHUNKS))
    sender.xorb(xorb(b"one", b"two", b"three"), OTHER)
    first = CHUNKS[1] + b"twothree" + CHUNKS[1] + CHUNKS[2]
    parts = [
        Part(NAME, len(CHUNKS[1]), 1, 2),
        Part(OTHER, 8, 1, 3),
        Part(NAME, len(CHUNKS[1]) + 100, 1, 3),
    ]
    second = [Part(OTHER, 3, 0, 1)]
    content = shard(file(parts, digest(first)), file(second, None), file([], digest(b"")))
    assert sender.shard(content).status == 200
    for made in (first, b"one", b""):
        assert people.catalog.blobs.size(digest(made)) == len(made)
        assert commit(asks, here, made).status == 200


@pytest.mark.parametrize(
    "path",
    [
        f"v1/chunks/default/{NAME}",
        f"v1/chunks/default-merkledb/{NAME}",
        f"v1/reconstructions/{NAME}",
        f"v2/reconstructions/{NAME}",
        f"v2/file-chunk-hashes/{NAME}",
    ],
)
def test_what_clients_only_ask_about_is_not_there(asks: Ask, sender: Sender, path: str) -> None:
    assert asks("GET", f"{sender.place}/{path}", by=sender.text).status == 404


@pytest.mark.parametrize("path", [f"v1/xorb-grants/default/{NAME}", "v1/telemetry"])
def test_what_clients_do_without_is_not_there(asks: Ask, sender: Sender, path: str) -> None:
    assert asks("POST", f"{sender.place}/{path}", by=sender.text, body={}).status == 404


@pytest.mark.parametrize(("by", "status"), [(None, 401), ("alice reads", 403), ("bob", 403)])
def test_nobody_without_the_right_to_write_gets_a_pass(
    asks: Ask, here: str, by: str | None, status: int
) -> None:
    assert asks("GET", f"/api/models/{here}/xet-write-token/main", by=by).status == status


@pytest.mark.parametrize("shown", ["alice", "cut", "nothing", "bob's"])
def test_nothing_is_taken_without_the_pass(
    asks: Ask, sender: Sender, people: People, shown: str
) -> None:
    theirs = Sender(asks, people.make("bob/mine").full_name, "bob").text
    by = {"alice": "alice", "cut": sender.text[:-2], "nothing": None, "bob's": theirs}[shown]
    for path in ("v2/shards", "v1/shards", f"v1/xorbs/default/{NAME}"):
        answer = asks("POST", f"{sender.place}/{path}", by=by, body=xorb(*CHUNKS))
        assert answer.status == (404 if shown == "bob's" else 401)


def test_a_pass_is_good_for_a_quarter_of_an_hour(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr(timed.TimestampSigner, "get_timestamp", lambda self: now + PASS_VALID + 10)
    assert sender.xorb(xorb(*CHUNKS)).status == 401


def test_a_pass_that_was_renewed_after_midnight_is_good_where_the_upload_began(
    asks: Ask, sender: Sender, here: str, people: People
) -> None:
    sender.xorb(xorb(*CHUNKS))
    (shelf,) = (people.catalog.home / FOLDER_NAME).glob("*/*")
    shelf.rename(shelf.with_name((datetime.now(UTC).date() - timedelta(days=1)).isoformat()))
    renewed = Sender(asks, here, "alice")
    assert renewed.place != sender.place
    sender.text = renewed.text
    assert sender.shard().status == 200
    assert renewed.shard().status == 400  # it would be sent anew there


def test_nobody_refers_to_the_xorbs_of_another_account(
    asks: Ask, sender: Sender, people: People
) -> None:
    sender.xorb(xorb(*CHUNKS))
    theirs = Sender(asks, people.make("bob/mine").full_name, "bob")
    assert theirs.place != sender.place
    assert theirs.shard().status == 400
    assert people.catalog.blobs.size(digest(WHOLE)) is None
    assert commit(asks, "bob/mine", WHOLE, "bob").status == 400


def test_what_one_account_made_another_does_not_possess(
    asks: Ask, sender: Sender, people: People
) -> None:
    sender.xorb(xorb(*CHUNKS))
    assert sender.shard().status == 200
    people.make("bob/mine")
    assert commit(asks, "bob/mine", WHOLE, "bob").status == 400


def test_the_same_again_on_this_day_needs_a_shard_alone(
    asks: Ask, sender: Sender, here: str
) -> None:
    sender.xorb(xorb(*CHUNKS))
    sender.shard()
    again = Sender(asks, here, "alice")
    assert again.place == sender.place
    assert again.shard().status == 200


def test_after_the_scratch_was_lost_clients_send_anew(
    asks: Ask, sender: Sender, here: str, people: People
) -> None:
    sender.xorb(xorb(*CHUNKS))
    shutil.rmtree(people.catalog.home / FOLDER_NAME)
    assert sender.shard().status == 404
    again = Sender(asks, here, "alice")
    assert again.place != sender.place
    again.xorb(xorb(*CHUNKS))
    assert again.shard().status == 200


@pytest.mark.parametrize("damage", ["lost", "empty", "other bytes"])
def test_after_a_xorb_was_damaged_clients_send_anew(
    asks: Ask, sender: Sender, here: str, people: People, damage: str
) -> None:
    sender.xorb(xorb(*CHUNKS))
    (kept,) = (people.catalog.home / FOLDER_NAME).rglob(NAME)
    if damage == "lost":
        kept.unlink()
    else:
        kept.write_bytes(b"" if damage == "empty" else b"x" + kept.read_bytes()[1:])
    assert sender.shard().status == 400
    again = Sender(asks, here, "alice")
    assert again.place != sender.place
    again.xorb(xorb(*CHUNKS))
    assert again.shard().status == 200


BOMB = lz4.frame.compress(bytes(60_000_000))


@pytest.mark.parametrize(
    "content",
    [b"", b"noise" * 100, xorb(*CHUNKS)[:-1], header(len(BOMB), 1, 131_072) + BOMB],
    ids=["nothing", "noise", "cut off", "a bomb"],
)
def test_what_is_no_xorb_is_kept_nowhere(sender: Sender, people: People, content: bytes) -> None:
    assert sender.xorb(content).status == 400
    left = [path.name for path in (people.catalog.home / FOLDER_NAME).rglob("*") if path.is_file()]
    assert left == ["ids"]


def test_a_client_that_leaves_half_way_leaves_no_xorb(sender: Sender, people: People) -> None:
    content = xorb(*CHUNKS)
    length = {"content-length": str(len(content) + 10)}
    assert sender.xorb(content, headers=length, cut=True).status == 400
    assert not list((people.catalog.home / FOLDER_NAME).rglob(NAME))


@pytest.mark.parametrize("length", [str(MOST_BODY + 1), "9" * 30])
def test_a_xorb_that_is_too_long_is_not_read(sender: Sender, length: str) -> None:
    assert sender.xorb(b"x", headers={"content-length": length}).status == 413


@pytest.mark.parametrize("length", ["", "-1", "x"])
def test_a_xorb_without_a_length_is_not_read(sender: Sender, length: str) -> None:
    assert sender.xorb(b"x", headers={"content-length": length}).status == 400


@pytest.mark.parametrize("name", ["12" * 31, "AB" * 32, "ids", "..%2f..%2fx"])
def test_a_xorb_is_called_by_a_hash(sender: Sender, name: str) -> None:
    assert sender.xorb(xorb(*CHUNKS), name).status == 400


LIES = {
    "no shard": b"noise" * 100,
    "cut off": SHARD[:-1],
    "a xorb that never came": shard(file([Part(OTHER, 3, 0, 1)], digest(b"one"))),
    "a chunk that is not there": shard(file([Part(NAME, len(WHOLE), 0, 5)], digest(WHOLE))),
    "a chunk far off": shard(file([Part(NAME, 1, 2**32 - 2, 2**32 - 1)], digest(WHOLE))),
    "another length": shard(file([Part(NAME, len(WHOLE) + 1, 0, 4)], digest(WHOLE))),
    "another digest": shard(file([PART], digest(b"another"))),
    "less than all": shard(file([Part(NAME, len(CHUNKS[0]), 0, 1)], digest(WHOLE))),
}


@pytest.mark.parametrize("path", ["v2/shards", "v1/shards"])
@pytest.mark.parametrize("lie", LIES)
def test_a_shard_that_lies_makes_nothing(
    sender: Sender, people: People, lie: str, path: str
) -> None:
    sender.xorb(xorb(*CHUNKS))
    before = blobs(people)
    answer = sender.shard(LIES[lie], path)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert blobs(people) == before


def test_of_a_shard_with_one_wrong_file_the_account_possesses_nothing(
    asks: Ask, sender: Sender, here: str
) -> None:
    sender.xorb(xorb(*CHUNKS))
    both = shard(file([PART], digest(WHOLE)), file([PART], digest(b"another")))
    assert sender.shard(both).status == 400
    assert commit(asks, here, WHOLE).status == 400


def test_a_shard_that_is_too_long_is_not_read(asks: Ask, sender: Sender) -> None:
    answer = asks(
        "POST",
        f"{sender.place}/v2/shards",
        by=sender.text,
        body=b"x",
        headers={"content-length": str(MOST_SHARD + 1)},
    )
    assert answer.status == 413


def test_one_chunk_in_very_many_places_is_refused_before_anything_is_written(
    sender: Sender, people: People
) -> None:
    large = chunk(bytes(131_072), 1) * 512
    sender.xorb(large, OTHER)
    before = blobs(people)
    content = shard(file([Part(OTHER, 1 << 26, 0, 512)] * 16_385, digest(b"x"), verified=False))
    answer = sender.shard(content)
    assert answer.status == 400
    assert "more than 1099511627776 bytes" in answer.json["error"]
    assert blobs(people) == before


class TestLongWork:
    """A shard whose files take long."""

    @pytest.fixture(autouse=True)
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let files take a third of a second, and a line come at once."""
        make = xet.make_files

        def make_slowly(*given: Any) -> Any:
            time.sleep(0.3)
            return make(*given)

        monkeypatch.setattr(xet, "make_files", make_slowly)
        monkeypatch.setattr(xet, "AT_ONCE", 0.01)
        monkeypatch.setattr(xet, "EVERY", 0.01)

    def test_the_client_is_told_that_it_goes_on(self, asks: Ask, sender: Sender, here: str) -> None:
        sender.xorb(xorb(*CHUNKS))
        answer = sender.shard()
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        *before, last = map(json.loads, answer.body.splitlines())
        assert len(before) > 1
        assert all(one == {"type": "committing", "stage": "uploading"} for one in before)
        assert last == {"type": "result"}
        assert commit(asks, here, WHOLE).status == 200

    def test_a_lie_is_told_in_the_last_line(self, sender: Sender) -> None:
        answer = sender.shard()
        assert answer.status == 200
        last = json.loads(answer.body.splitlines()[-1])
        assert (last["type"], last["retryable"]) == ("error", False)
        assert "has not come" in last["message"]

    def test_older_clients_wait_for_the_status(self, sender: Sender) -> None:
        assert sender.shard(path="v1/shards").status == 400
        sender.xorb(xorb(*CHUNKS))
        answer = sender.shard(path="shards")
        assert (answer.status, answer.json) == (200, {"result": 1})


class TestRoom:
    """A hub with little room for xorbs."""

    @pytest.fixture
    def hub(self, people: People) -> Hub:
        return Hub(people.catalog, Settings(scratch=300_000))

    def test_more_than_there_is_room_for_is_refused_without_a_path(
        self, sender: Sender, people: People
    ) -> None:
        assert sender.xorb(xorb(*CHUNKS)).status == 200
        answer = sender.xorb(xorb(*CHUNKS), OTHER)
        assert answer.status == 507
        assert str(people.catalog.home) not in answer.body.decode()
        assert not list((people.catalog.home / FOLDER_NAME).rglob(OTHER))
        assert sender.shard().status == 200


def test_what_is_old_is_swept_with_the_parts_of_uploads(people: People, here: str) -> None:
    hub = Hub(people.catalog)
    old = people.catalog.home / FOLDER_NAME / "1" / "2020-01-01"
    old.mkdir(parents=True)
    with Client(App(hub)) as client:
        answer = client.ask(
            "GET", f"/api/models/{here}/xet-write-token/main", token=people.tokens["alice"]
        )
    hub.sweep()
    assert answer.status == 200
    left = list(old.parents[1].glob("*/*"))
    assert old not in left
    assert len(left) == 1
