"""What a hub cannot make a client do while it is sent something."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hubkit.hub import session as session_module
from hubkit.hub.address import Hub, Repository
from hubkit.hub.session import HubSession
from hubkit.hub.upload import commit
from registry.errors import RemoteAnswerError, RemoteError
from tests.support.hostile import Answer, Hostile, serve_hostile

WEIGHTS = b"\0weights" * 10
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Lies:
    """A hub that takes one file by LFS, as the protocol says, but for what a test changes."""

    def __init__(self, hub: Hostile) -> None:
        self.hub = hub
        self.preupload: Any = {"files": [{"path": "w.bin", "uploadMode": "lfs"}]}
        self.actions: Any = {
            "upload": {"href": f"{hub.other}/put", "header": {"authorization": "Bearer theirs"}},
            "verify": {"href": f"{hub.url}/verify"},
        }
        self.object: Any = {"oid": DIGEST, "size": len(WEIGHTS)}
        self.batch: Any = {"transfer": "basic"}
        self.commit: Any = {"commitOid": "c" * 40}
        self.redirected = ""

    def answer(self, request: Answer) -> None:
        if self.redirected and self.redirected in request.path:
            request.send(b"", 307, location=f"{self.hub.other}/x")
        elif "preupload" in request.path:
            request.json(self.preupload)
        elif "batch" in request.path:
            one = {**self.object, "actions": self.actions}
            request.json({"objects": [one], **self.batch})
        elif "/commit/" in request.path:
            request.json(self.commit)
        else:
            request.json({})


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lies]:
    monkeypatch.setattr("hubkit.hub.upload._PAUSES", (0.0,))
    with serve_hostile() as hub:
        lies = Lies(hub)
        hub.answer = lies.answer
        yield lies


def send(lies: Lies) -> str:
    session = HubSession(Hub(lies.hub.url), "secret")
    there = Repository(session.hub, "ada/film")
    try:
        return commit(
            session,
            there,
            {"w.bin": WEIGHTS},
            (),
            branch="main",
            message="m",
            description="",
            parent=None,
        ).commit
    finally:
        session.close()


def committed(lies: Lies) -> bool:
    return any("/commit/" in path for _, path, _ in lies.hub.asked)


def test_storage_elsewhere_gets_the_bytes_and_no_token(lies: Lies) -> None:
    assert send(lies) == "c" * 40
    assert lies.hub.lured == [("PUT", "/put", None)]
    assert ("POST", "/verify", "Bearer secret") in lies.hub.asked


def change(**changes: Any) -> Callable[[Lies], None]:
    """Set parts of what the hub says; in addresses, OTHER is the other host."""

    def apply(lies: Lies) -> None:
        for name, value in changes.items():
            if isinstance(value, str):
                value = value.replace("OTHER", lies.hub.other)
            if name in ("upload", "verify"):
                lies.actions[name] = {"href": value, "header": {}}
            else:
                setattr(lies, name, value)

    return apply


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (change(preupload={"files": []}), "answers about others"),
        (
            change(preupload={"files": [{"path": "../w.bin", "uploadMode": "lfs"}]}),
            "answers about others",
        ),
        (
            change(preupload={"files": [{"path": "w.bin", "uploadMode": "xet"}]}),
            r"does not answer as a hub: files\.0\.uploadMode",
        ),
        (
            change(
                preupload={"files": [{"path": "w.bin", "uploadMode": "lfs", "shouldIgnore": True}]}
            ),
            r"would leave out w\.bin",
        ),
        (change(preupload=[[[]]]), "does not answer as a hub"),
        (change(batch={"objects": []}), "answers about others"),
        (change(batch={"transfer": "xet"}), "does not answer as a hub: transfer"),
        (change(object={"oid": OTHER, "size": len(WEIGHTS)}), "answers about others"),
        (change(object={"oid": DIGEST, "size": 1}), "answers about others"),
        (change(object={"oid": "../x", "size": 1}), r"does not answer as a hub: objects\.0\.oid"),
        (
            change(actions={"upload": {"href": "/put", "header": {"chunk_size": "9", "1": "/1"}}}),
            r"wants w\.bin in parts",
        ),
        (change(actions={"upload": {}}), r"objects\.0\.actions\.upload"),
        (change(actions={"verify": {"href": "/verify"}}), r"does not say where w\.bin goes"),
        (change(upload="ftp://localhost/x"), "is not followed"),
        (change(upload="http://ada:pw@localhost/x"), "is not followed"),
        (change(verify="OTHER/verify"), "leads to another host"),
        (change(verify="http://127.0.0.1:9/verify"), "leads to another host"),
        (change(redirected="preupload"), "redirected the request to an address that refused it"),
        (change(redirected="batch"), "redirected the request to an address that refused it"),
        (
            change(object={"oid": DIGEST, "size": 80, "error": {"message": "\x1b[2Jfull\n"}}),
            r"does not take w\.bin: \?\[2Jfull",
        ),
    ],
)
def test_a_lie_before_the_bytes_go_sends_none(
    lies: Lies, lie: Callable[[Lies], None], message: str
) -> None:
    lie(lies)
    with pytest.raises(RemoteError, match=message) as caught:
        send(lies)
    assert str(caught.value).isprintable()
    assert lies.hub.lured == []
    assert not committed(lies)


def test_storage_may_not_send_the_bytes_on(lies: Lies) -> None:
    change(upload="/put", redirected="/put")(lies)
    with pytest.raises(
        RemoteAnswerError, match="redirected the request to an address that refused it"
    ):
        send(lies)
    assert lies.hub.lured == []
    assert ("PUT", "/put", None) in lies.hub.asked
    assert not committed(lies)


@pytest.mark.parametrize(
    "answer",
    [{}, {"success": True}, {"commitOid": "../../x"}, {"commitOid": "c" * 39}, {"commitOid": 7}],
)
def test_a_commit_is_one_by_its_hash(lies: Lies, answer: object) -> None:
    lies.commit = answer
    with pytest.raises(RemoteAnswerError, match="does not answer as a hub: commitOid"):
        send(lies)


def test_an_answer_without_an_end_is_cut(lies: Lies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MOST_JSON", 10_000)
    lies.batch = {"objects": [], "x": "y" * 20_000}
    with pytest.raises(RemoteAnswerError, match="answers more than 10,000 bytes"):
        send(lies)
    assert lies.hub.lured == []
