"""Large files: who may send which bytes where, and what it gives them."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest

from registry.accounts.tokens import Tokens
from registry.errors import BusyDatabaseError
from registry.history.history import History
from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.protocol.lfs import MOST_PARTS
from registry.server.receiving import PARTS_NAME, Uploads
from registry.server.signing import Upload
from registry.storage.files import FileInfo
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.asgi import Answer, Ask, Client
from tests.support.people import People

BASE = "http://127.0.0.1:8000"
CONTENT = os.urandom(3_000_000)
OTHER = os.urandom(3_000_000)

pytestmark = pytest.mark.once


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def batch(
    asks: Ask, repository: str, content: bytes, *, by: str, transfers: tuple[str, ...] = ("basic",)
) -> dict[str, Any]:
    wanted = {
        "operation": "upload",
        "transfers": transfers,
        "objects": [{"oid": digest(content), "size": len(content)}],
    }
    answer = asks("POST", f"/{repository}.git/info/lfs/objects/batch", by=by, body=wanted)
    assert answer.status == 200, answer.body
    (told,) = answer.json["objects"]
    assert (told["oid"], told["size"]) == (digest(content), len(content))
    return told.get("actions", {})  # type: ignore[no-any-return]


def place(href: str) -> str:
    assert href.startswith(f"{BASE}/")
    return href.removeprefix(BASE)


def send(asks: Ask, repository: str, content: bytes, *, by: str) -> None:
    answer = asks(
        "PUT", place(batch(asks, repository, content, by=by)["upload"]["href"]), body=content
    )
    assert answer.status == 200, answer.body


def commit(
    asks: Ask, repository: str, content: bytes, *, by: str, size: int | None = None
) -> Answer:
    value = {"path": "m.bin", "algo": "sha256", "oid": digest(content)}
    lines = (
        {"key": "header", "value": {"summary": "add", "description": ""}},
        {"key": "lfsFile", "value": value | ({} if size is None else {"size": size})},
    )
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return asks("POST", f"/api/models/{repository}/commit/main", by=by, body=body)


@pytest.fixture
def here(people: People) -> str:
    return people.make("alice/here").full_name


def test_a_file_is_sent_checked_committed_and_served(asks: Ask, here: str) -> None:
    actions = batch(asks, here, CONTENT, by="alice")
    assert asks("PUT", place(actions["upload"]["href"]), body=CONTENT).status == 200
    verified = {"oid": digest(CONTENT), "size": len(CONTENT)}
    assert asks("POST", place(actions["verify"]["href"]), by="alice", body=verified).status == 200
    assert commit(asks, here, CONTENT, by="alice", size=len(CONTENT)).status == 200
    answer = asks("GET", f"/{here}/resolve/main/m.bin")
    assert answer.body == CONTENT
    assert answer.headers["etag"] == f'"{digest(CONTENT)}"'
    assert answer.headers["x-linked-etag"] == answer.headers["etag"]
    assert batch(asks, here, CONTENT, by="alice") == {}


@pytest.mark.parametrize("sent", [OTHER, CONTENT[:-1], CONTENT + b"x", b""])
def test_other_bytes_than_announced_are_kept_nowhere(
    asks: Ask, here: str, people: People, sent: bytes
) -> None:
    href = place(batch(asks, here, CONTENT, by="alice")["upload"]["href"])
    length = {"content-length": str(len(CONTENT))}
    for headers in ({}, length):  # as who tells the truth about the length, and who does not
        assert asks("PUT", href, body=sent, headers=headers).status == 400
    for content in (CONTENT, sent):
        assert people.catalog.blobs.size(digest(content)) is None
    assert commit(asks, here, CONTENT, by="alice").status == 400


def test_a_client_that_leaves_half_way_leaves_nothing(asks: Ask, here: str, people: People) -> None:
    href = place(batch(asks, here, CONTENT, by="alice")["upload"]["href"])
    length = {"content-length": str(len(CONTENT))}
    answer = asks("PUT", href, body=CONTENT[: len(CONTENT) // 2], headers=length, cut=True)
    assert answer.status == 400
    assert people.catalog.blobs.size(digest(CONTENT)) is None
    send(asks, here, CONTENT, by="alice")


def test_the_body_is_read_and_hashed_even_if_the_bytes_are_there(asks: Ask, here: str) -> None:
    send(asks, here, CONTENT, by="alice")
    assert commit(asks, here, CONTENT, by="alice").status == 200
    people_cannot = batch(asks, here, OTHER, by="alice")["upload"]["href"]
    send(asks, here, OTHER, by="alice")
    assert asks("PUT", place(people_cannot), body=CONTENT).status == 400


def test_a_digest_gives_nothing(asks: Ask, people: People) -> None:
    secret = people.make("alice/secret", "private").full_name
    mine = people.make("bob/mine").full_name
    send(asks, secret, CONTENT, by="alice")
    assert commit(asks, secret, CONTENT, by="alice").status == 200
    assert commit(asks, mine, CONTENT, by="bob").status == 400
    assert "upload" in batch(asks, mine, CONTENT, by="bob")  # not "there already"
    told = {"oid": digest(CONTENT), "size": len(CONTENT)}
    verify = f"/{mine}.git/info/lfs/objects/verify"
    assert asks("POST", verify, by="bob", body=told).status == 404
    # Who has the bytes may name them.
    send(asks, mine, CONTENT, by="bob")
    assert commit(asks, mine, CONTENT, by="bob").status == 200


def test_what_one_may_read_one_may_commit(asks: Ask, people: People) -> None:
    there, mine = people.make("alice/open").full_name, people.make("bob/mine").full_name
    send(asks, there, CONTENT, by="alice")
    assert commit(asks, there, CONTENT, by="alice").status == 200
    assert batch(asks, mine, CONTENT, by="bob") == {}
    assert commit(asks, mine, CONTENT, by="bob").status == 200


@pytest.mark.parametrize(("limits", "status"), [(["here"], 400), (["here", "secret"], 200)])
def test_a_token_reads_by_digest_what_is_in_the_repositories_that_it_is_limited_to(
    asks: Ask, people: People, limits: list[str], status: int
) -> None:
    secret = people.make("alice/secret", "private").full_name
    here = people.make("alice/here").full_name
    send(asks, secret, CONTENT, by="alice")
    assert commit(asks, secret, CONTENT, by="alice").status == 200
    with people.catalog.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM uploads")
    people.tokens["limited"] = Tokens(people.catalog.store).create(
        "alice", "limited", "write", repositories=[f"alice/{name}" for name in limits]
    )
    assert commit(asks, here, CONTENT, by="limited").status == status
    assert commit(asks, here, CONTENT, by="alice").status == 200


def test_another_size_than_that_of_the_bytes_is_refused(asks: Ask, here: str) -> None:
    send(asks, here, CONTENT, by="alice")
    assert commit(asks, here, CONTENT, by="alice", size=5).status == 400
    told = {"oid": digest(CONTENT), "size": 5}
    verify = f"/{here}.git/info/lfs/objects/verify"
    assert asks("POST", verify, by="alice", body=told).status == 404


@pytest.mark.parametrize("by", [None, "alice reads", "bob"])
def test_nobody_without_the_right_to_write_is_given_a_place(
    asks: Ask, here: str, by: str | None
) -> None:
    wanted = {"operation": "upload", "objects": [{"oid": "ab" * 32, "size": 3}]}
    answer = asks("POST", f"/{here}.git/info/lfs/objects/batch", by=by, body=wanted)
    assert answer.status == (401 if by is None else 403)


@pytest.mark.parametrize(
    "wanted",
    [
        {"operation": "upload", "objects": [{"oid": "AB" * 32, "size": 3}]},
        {"operation": "upload", "objects": [{"oid": "../../x", "size": 3}]},
        {"operation": "upload", "objects": [{"oid": "ab" * 32, "size": -1}]},
        {"operation": "upload", "objects": [{"oid": "ab" * 32, "size": 2**63}]},
        {"operation": "upload", "hash_algo": "md5", "objects": []},
        {"operation": "upload", "objects": [{"oid": "ab" * 32, "size": 1}] * 1001},
        [],
    ],
)
def test_a_malformed_batch_is_refused(asks: Ask, here: str, wanted: Any) -> None:
    answer = asks("POST", f"/{here}.git/info/lfs/objects/batch", by="alice", body=wanted)
    assert answer.status == 400


def test_downloads_by_lfs_are_not_supported(asks: Ask, here: str) -> None:
    wanted = {"operation": "download", "objects": [{"oid": "ab" * 32, "size": 1}]}
    answer = asks("POST", f"/{here}.git/info/lfs/objects/batch", by="alice", body=wanted)
    assert answer.status == 501


class TestParts:
    """Files that come in parts of a million bytes."""

    @pytest.fixture
    def hub(self, people: People) -> Hub:
        return Hub(people.catalog, Settings(part=1_000_000))

    def parts(self, asks: Ask, here: str, content: bytes) -> tuple[str, list[str]]:
        upload = batch(asks, here, content, by="alice", transfers=("basic", "multipart"))["upload"]
        size = int(upload["header"].pop("chunk_size"))
        assert size == 1_000_000
        numbers = sorted(upload["header"], key=int)
        assert numbers == [str(n) for n in range(1, -(-len(content) // size) + 1)]
        return place(upload["href"]), [place(upload["header"][number]) for number in numbers]

    def test_they_come_one_by_one_in_any_order_and_make_the_file(
        self, asks: Ask, here: str, people: People
    ) -> None:
        content = CONTENT[:2_500_000]
        href, urls = self.parts(asks, here, content)
        etags: dict[int, str] = {}
        for number in (3, 1, 2, 1):  # a client repeats what it has no answer to
            piece = content[(number - 1) * 1_000_000 : number * 1_000_000]
            answer = asks("PUT", urls[number - 1], body=piece)
            assert answer.status == 200
            etags[number] = answer.headers["etag"]
        body = {
            "oid": digest(content),
            "parts": [{"partNumber": n, "etag": etags[n]} for n in (1, 2, 3)],
        }
        assert asks("POST", href, body=body).status == 200
        assert asks("POST", href, body=body).status == 200  # it did not hear that it was done
        assert commit(asks, here, content, by="alice").status == 200
        assert asks("GET", f"/{here}/resolve/main/m.bin").body == content
        assert not any((people.catalog.home / PARTS_NAME).iterdir())

    def test_parts_that_are_missing_swapped_or_of_another_length_make_nothing(
        self, asks: Ask, here: str, people: People
    ) -> None:
        content = CONTENT[:2_000_000]
        href, urls = self.parts(asks, here, content)
        named = {"parts": [{"partNumber": 1, "etag": "a"}, {"partNumber": 2, "etag": "b"}]}
        assert asks("POST", href, body=named).status == 400
        assert asks("PUT", urls[0], body=content[:999_999]).status == 400
        assert asks("PUT", urls[0], body=content[1_000_000:]).status == 200
        assert asks("PUT", urls[1], body=content[:1_000_000]).status == 200
        assert asks("POST", href, body={"parts": named["parts"][:1]}).status == 400
        assert asks("POST", href, body=named).status == 400
        assert people.catalog.blobs.size(digest(content)) is None

    def test_more_parts_than_a_file_has_are_not_read(self, asks: Ask, here: str) -> None:
        href, _ = self.parts(asks, here, CONTENT[:2_000_000])
        answer = asks("POST", href, body={"parts": [{}] * (MOST_PARTS + 1)})
        assert (answer.status, f"at most {MOST_PARTS} items" in answer.json["error"]) == (400, True)

    def sent(self, asks: Ask, here: str, content: bytes) -> tuple[str, dict[str, Any]]:
        """Send all parts; return what is asked for then, and with which body."""
        href, urls = self.parts(asks, here, content)
        for number, url in enumerate(urls):
            piece = content[number * 1_000_000 : (number + 1) * 1_000_000]
            assert asks("PUT", url, body=piece).status == 200
        parts = [{"partNumber": n, "etag": "any"} for n in range(1, len(urls) + 1)]
        return href, {"oid": digest(content), "parts": parts}

    def test_after_a_busy_database_the_parts_are_still_there(
        self, asks: Ask, here: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def busy(*_: object) -> None:
            raise BusyDatabaseError("it is busy", "here")

        href, body = self.sent(asks, here, CONTENT)
        with monkeypatch.context() as patch:
            patch.setattr(History, "remember_upload", busy)
            assert asks("POST", href, body=body).status == 503
        assert asks("POST", href, body=body).status == 200
        assert commit(asks, here, CONTENT, by="alice").status == 200

    def test_who_completes_a_file_while_it_is_completed_is_told_that_it_is_there(
        self, asks: Ask, here: str, people: People, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        href, body = self.sent(asks, here, CONTENT)
        complete, answers = Uploads.complete, list[Answer]()

        def overtaken(uploads: Uploads, upload: Upload) -> FileInfo:
            monkeypatch.setattr(Uploads, "complete", complete)
            answers.append(asks("POST", href, body=body))
            return complete(uploads, upload)

        monkeypatch.setattr(Uploads, "complete", overtaken)
        answers.append(asks("POST", href, body=body))
        assert [answer.status for answer in answers] == [200, 200]
        assert not any((people.catalog.home / PARTS_NAME).iterdir())

    def test_parts_bring_back_bytes_that_were_lost(
        self, asks: Ask, here: str, people: People
    ) -> None:
        send(asks, here, CONTENT, by="alice")
        assert commit(asks, here, CONTENT, by="alice").status == 200
        blobs = people.catalog.blobs
        assert isinstance(blobs, FolderBlobStore)
        blobs.path(digest(CONTENT)).unlink()
        href, body = self.sent(asks, here, CONTENT)
        assert asks("POST", href, body=body).status == 200
        assert blobs.size(digest(CONTENT)) == len(CONTENT)

    def test_the_url_of_a_part_takes_no_file_and_ends_nothing(self, asks: Ask, here: str) -> None:
        href, urls = self.parts(asks, here, CONTENT)
        assert asks("PUT", href, body=CONTENT).status == 403
        assert asks("POST", urls[0], body={"parts": []}).status == 403

    def test_a_client_that_knows_no_parts_sends_the_file_whole(self, asks: Ask, here: str) -> None:
        assert "header" not in batch(asks, here, CONTENT, by="alice")["upload"]
        send(asks, here, CONTENT, by="alice")


def test_parts_of_uploads_that_nobody_completed_are_swept(people: People, here: str) -> None:
    hub = Hub(people.catalog, Settings(part=1_000_000))
    with Client(App(hub)) as client:

        def asks(method: str, target: str, *, by: str | None = None, **more: Any) -> Answer:
            return client.ask(method, target, token=by and people.tokens[by], **more)

        upload = batch(asks, here, CONTENT, by="alice", transfers=("multipart",))["upload"]
        assert asks("PUT", place(upload["header"]["1"]), body=CONTENT[:1_000_000]).status == 200
    (folder,) = (people.catalog.home / PARTS_NAME).iterdir()
    hub.uploads.sweep()
    assert folder.exists()
    os.utime(folder, (0, 0))
    hub.uploads.sweep()
    assert not folder.exists()
