"""Commits as clients send them, and what they are told before."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from typing import Any

import pytest

from registry.history.git import blob_id
from registry.server.protocol import writing
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.asgi import Answer, Ask
from tests.support.people import People

HEADER = {"key": "header", "value": {"summary": "change", "description": ""}}
NEW_CLIENT = {"user-agent": "unknown/None; hf_hub/2.4.0; python/3.11.7"}

pytestmark = pytest.mark.once


def put(path: str, content: bytes) -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64"}}


def lines(*parts: Any) -> bytes:
    return b"".join(json.dumps(part).encode() + b"\n" for part in parts)


def commit(asks: Ask, *parts: Any, branch: str = "main", by: str = "alice") -> Answer:
    path = f"/api/models/alice/mine/commit/{branch}"
    return asks("POST", path, by=by, body=lines(HEADER, *parts))


@pytest.fixture(autouse=True)
def mine(people: People) -> str:
    return people.make("alice/mine").full_name


def files(asks: Ask, revision: str = "main") -> list[str]:
    tree = asks("GET", f"/api/models/alice/mine/tree/{revision}?recursive=true").json
    return [one["path"] for one in tree if one["path"] != ".gitattributes"]


def test_a_commit_is_told_with_its_id_and_url(asks: Ask) -> None:
    answer = commit(asks, put("a.txt", b"one"))
    assert answer.status == 200
    oid = asks("GET", "/api/models/alice/mine").json["sha"]
    assert answer.json["commitOid"] == oid
    assert answer.json["commitUrl"] == f"http://127.0.0.1:8000/alice/mine/commit/{oid}"


def test_small_files_have_gits_own_id(asks: Ask) -> None:
    commit(asks, put("d/a.txt", b"one\n"))
    tree = asks("GET", "/api/models/alice/mine/tree/main?recursive=true").json
    entry = {one["path"]: one for one in tree}
    # As `printf 'one\n' | git hash-object --stdin` says.
    assert entry["d/a.txt"]["oid"] == "5626abf0f72e58d7a153368ba57db4c673c0e171"
    assert entry["d"]["type"] == "directory"
    head = asks("HEAD", "/alice/mine/resolve/main/d/a.txt").headers
    assert head["etag"] == '"5626abf0f72e58d7a153368ba57db4c673c0e171"'
    assert head["content-length"] == "4"


@pytest.mark.parametrize(
    "path",
    [
        *("../evil", "a/../../evil", "/etc/passwd", ".git/config", ".GIT/config", "x//y", "x/./y"),
        *("", "a/", "..", "nul\0byte", "new\nline", "back\\slash", "a" * 1025),
    ],
)
def test_paths_that_lead_elsewhere_change_nothing(asks: Ask, path: str) -> None:
    before = asks("GET", "/api/models/alice/mine").json["sha"]
    answer = commit(asks, put("fine.txt", b"x"), put(path, b"x"))
    assert answer.status == 400
    assert asks("GET", "/api/models/alice/mine").json["sha"] == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1,2]\n",
        b"\xff\xfe\n",
        lines(put("a", b"x")),
        lines(HEADER, HEADER),
        lines(HEADER, "hello"),
        lines(HEADER) + b"{oops\n",
        lines(HEADER, {"key": "frobnicate", "value": {"path": "a"}}),
        lines(HEADER, {"key": "file", "value": {"content": "eA=="}}),
        lines(HEADER, {"key": "file", "value": {"path": "a", "content": "@@@"}}),
        lines(HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "x"}}),
        lines(HEADER, put("a", b"x"), put("a/b", b"x")),
        lines({"key": "header", "value": {"summary": "a\0b"}}, put("a", b"x")),
        lines({"key": "header", "value": {"summary": ""}}, put("a", b"x")),
        lines(HEADER, {"key": "deletedFolder", "value": {"path": ""}}),
        lines(HEADER, {"key": "deletedFolder", "value": {"path": "/"}}),
    ],
)
def test_a_malformed_commit_changes_nothing(asks: Ask, body: bytes) -> None:
    before = asks("GET", "/api/models/alice/mine").json["sha"]
    answer = asks("POST", "/api/models/alice/mine/commit/main", by="alice", body=body)
    assert answer.status == 400, answer.body
    assert answer.json["error"]
    assert asks("GET", "/api/models/alice/mine").json["sha"] == before


def test_a_commit_for_a_head_that_moved_is_refused(asks: Ask) -> None:
    first = asks("GET", "/api/models/alice/mine").json["sha"]

    def with_parent(parent: str) -> dict[str, Any]:
        return {"key": "header", "value": {"summary": "s", "parentCommit": parent}}

    path = "/api/models/alice/mine/commit/main"
    body = lines(with_parent(first), put("a", b"1"))
    assert asks("POST", path, by="alice", body=body).status == 200
    body = lines(with_parent(first), put("a", b"2"))
    assert asks("POST", path, by="alice", body=body).status == 412
    assert asks("GET", "/alice/mine/resolve/main/a").body == b"1"


def test_what_goes_must_be_there(asks: Ask) -> None:
    commit(asks, put("a", b"1"), put("d/b", b"2"))
    for key, path in (("deletedFile", "no"), ("deletedFolder", "no/")):
        answer = commit(asks, put("c", b"3"), {"key": key, "value": {"path": path}})
        assert (answer.status, answer.code) == (404, "EntryNotFound")
        assert "with this name doesn't exist" in answer.json["error"]
    assert commit(asks, {"key": "deletedFolder", "value": {"path": "d/"}}).status == 200
    assert files(asks) == ["a"]


def test_a_branch_is_committed_to_by_its_escaped_name_and_a_tag_is_not(asks: Ask) -> None:
    assert asks("POST", "/api/models/alice/mine/branch/feat%2Fx", by="alice", body={}).status == 200
    assert commit(asks, put("a", b"1"), branch="feat%2Fx").status == 200
    assert (files(asks, "feat%2Fx"), files(asks)) == (["a"], [])
    tag = {"tag": "v-1"}
    assert asks("POST", "/api/models/alice/mine/tag/main", by="alice", body=tag).status == 200
    assert commit(asks, put("a", b"1"), branch="v-1").code == "RevisionNotFound"
    assert commit(asks, put("a", b"1"), branch="nope").code == "RevisionNotFound"


def test_pull_requests_are_refused_and_nothing_goes_to_main(asks: Ask) -> None:
    body = lines(HEADER, put("a", b"1"))
    path = "/api/models/alice/mine/commit/main?create_pr=1"
    assert asks("POST", path, by="alice", body=body).status == 403
    path = "/api/models/alice/mine/preupload/main?create_pr=1"
    assert asks("POST", path, by="alice", body={"files": []}).status == 403
    assert files(asks) == []


def test_a_line_and_a_body_have_a_largest_size(asks: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_LINE_BYTES", 1000)
    assert commit(asks, put("a", b"x" * 2000)).status == 413
    monkeypatch.setattr(writing, "MOST_CHANGES", 2)
    assert commit(asks, *(put(f"f{n}", b"x") for n in range(3))).status == 400
    assert files(asks) == []


def test_many_small_files_are_stored_in_a_few_steps(asks: Ask) -> None:
    names = [f"part-{number:03d}.txt" for number in range(150)]
    assert commit(asks, *(put(name, name.encode()) for name in names)).status == 200
    assert files(asks) == names
    assert asks("GET", "/alice/mine/resolve/main/part-149.txt").body == b"part-149.txt"


def advise(asks: Ask, *described: dict[str, Any], **more: Any) -> Answer:
    body = {"files": [{"sample": "", **one} for one in described], **more}
    path = "/api/models/alice/mine/preupload/main"
    return asks("POST", path, by="alice", body=body, headers=NEW_CLIENT)


@pytest.mark.parametrize(
    ("path", "size", "sample", "mode"),
    [
        ("adapter_config.json", 500, b"{}", "regular"),
        ("adapter_model.safetensors", 500, b"\0\0", "lfs"),
        ("adapter_model.safetensors", 0, b"", "regular"),
        ("tokenizer.json", 2_000_000, b"{}", "lfs"),
        ("picture", 500, b"\x89PNG\0", "lfs"),
        ("README.md", 500, "ü".encode(), "regular"),
    ],
)
def test_large_and_binary_files_go_by_lfs(
    asks: Ask, path: str, size: int, sample: bytes, mode: str
) -> None:
    told = {"path": path, "size": size, "sample": base64.b64encode(sample).decode()}
    (file,) = advise(asks, told).json["files"]
    assert (file["path"], file["uploadMode"], file["shouldIgnore"]) == (path, mode, False)


def test_what_is_there_is_told_by_its_id_so_that_it_is_not_sent_again(asks: Ask) -> None:
    commit(asks, put("a.txt", b"one"))
    (file,) = advise(asks, {"path": "a.txt", "size": 3}).json["files"]
    assert file["oid"] == blob_id(b"one")
    (file,) = advise(asks, {"path": "b.txt", "size": 3}).json["files"]
    assert "oid" not in file


def test_what_gitignore_names_is_left_out(asks: Ask) -> None:
    described = [
        {"path": path, "size": 3} for path in ("run.log", "d/run.log", "keep.log", "a.txt")
    ]
    rules = "*.log\n!keep.log\n# comment\n"

    def ignored(**more: Any) -> list[str]:
        told = advise(asks, *described, **more).json["files"]
        return [one["path"] for one in told if one["shouldIgnore"]]

    assert ignored() == []
    assert ignored(gitIgnore=rules) == ["run.log", "d/run.log"]
    commit(asks, put(".gitignore", rules.encode()))
    assert ignored() == ["run.log", "d/run.log"]
    assert ignored(gitIgnore="") == []


@pytest.mark.timeout(20)
def test_a_pattern_that_takes_for_ever_is_left_out(asks: Ask) -> None:
    evil = "*a" * 60 + "b\n" + "**/" * 40 + "b\n*.log\n"
    described = [{"path": "a" * 250, "size": 3}, {"path": "/".join("a" * 100), "size": 3}]
    told = advise(asks, *described, {"path": "x.log", "size": 3}, gitIgnore=evil).json["files"]
    assert [one["shouldIgnore"] for one in told] == [False, False, True]


@pytest.mark.parametrize("line", ["!", "a\\", "\\", "[z-a]", "**/[b-a]/x", "!/"])
def test_a_pattern_that_is_none_is_passed_over_as_by_git(asks: Ask, line: str) -> None:
    described = [{"path": path, "size": 3} for path in ("run.log", "a.txt")]
    rules = f"{line}\n*.log\n"
    told = advise(asks, *described, gitIgnore=rules)
    assert [one["shouldIgnore"] for one in told.json["files"]] == [True, False]
    commit(asks, put(".gitignore", rules.encode()))
    assert advise(asks, *described).json == told.json


@pytest.mark.parametrize("sample", ["a", "é"])
def test_a_sample_that_is_not_base64_is_refused(asks: Ask, sample: str) -> None:
    assert advise(asks, {"path": "a.txt", "size": 3, "sample": sample}).status == 400


def test_clients_may_send_by_xet_and_are_told_nothing(asks: Ask) -> None:
    weights = {"path": "m.safetensors", "size": 5}
    agent = {"user-agent": "unknown/None; hf_hub/2.4.0; python/3.11"}
    body = {"files": [weights]}
    path = "/api/models/alice/mine/preupload/main"
    answer = asks("POST", path, by="alice", body=body, headers=agent)
    assert "x-hf-warning" not in answer.headers
    answer = asks("GET", "/api/models/alice/mine/xet-read-token/main", by="alice")
    assert (answer.status, answer.code) == (501, "NotSupported")


def test_a_commit_without_a_version_says_why(asks: Ask) -> None:
    config = json.dumps({"peft_type": "LORA"}).encode()
    warning = commit(asks, put("adapter_config.json", config)).headers["x-hf-warning"]
    topic, _, text = warning.partition("; ")
    assert topic.startswith("no-version-")
    assert "makes no version" in text
    assert warning.isascii()


def test_cards_are_checked_before_they_are_sent(asks: Ask) -> None:
    fine = {"content": "---\nlicense: mit\n---\n# x\n", "repoType": "model"}
    assert asks("POST", "/api/validate-yaml", body=fine).json == {"errors": [], "warnings": []}
    bad = {"content": "---\ntags: [unclosed\nfoo: : :\n---\n", "repoType": "model"}
    answer = asks("POST", "/api/validate-yaml", body=bad)
    assert answer.status == 400
    assert answer.json["errors"][0]["message"]


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85"])
def test_a_message_that_the_log_does_not_take_is_refused(asks: Ask, character: str) -> None:
    header = {"key": "header", "value": {"summary": "change", "description": character}}
    body = lines(header, put("a.txt", b"one"))
    assert asks("POST", "/api/models/alice/mine/commit/main", by="alice", body=body).status == 400
    for path, told in (("tag/main", {"tag": "t"}), ("super-squash/main", {})):
        place = f"/api/models/alice/mine/{path}"
        assert asks("POST", place, by="alice", body={**told, "message": character}).status == 400
    assert files(asks) == []


def test_a_card_may_have_what_a_terminal_printed(asks: Ask) -> None:
    card = "---\nlicense: mit\n---\n\x1b[1mbold\x1b[0m\x85"
    assert asks("POST", "/api/validate-yaml", body={"content": card}).status == 200
    assert commit(asks, put("README.md", card.encode())).status == 200
    assert asks("GET", "/api/models/alice/mine").json["cardData"] == {"license": "mit"}
    assert asks("GET", "/alice/mine").status == 200
    assert advise(asks, {"path": "a", "size": 1}, gitIgnore="\x0c\na").status == 200


def test_bytes_that_were_lost_are_asked_for_again(asks: Ask, people: People) -> None:
    commit(asks, put("a.txt", b"one"))
    before = asks("GET", "/api/models/alice/mine").json["sha"]
    stored = people.catalog.blobs
    assert isinstance(stored, FolderBlobStore)
    stored.path(hashlib.sha256(b"one").hexdigest()).unlink()
    assert asks("GET", "/alice/mine/resolve/main/a.txt").status == 410
    (file,) = advise(asks, {"path": "a.txt", "size": 3}).json["files"]
    assert "oid" not in file
    assert commit(asks, put("a.txt", b"one")).json["commitOid"] == before
    assert asks("GET", "/alice/mine/resolve/main/a.txt").body == b"one"


@pytest.mark.timeout(60)
def test_folders_inside_folders_without_end_do_not_fill_the_memory(asks: Ask) -> None:
    assert commit(asks, put("a/" * 64 + "x", b"x")).status == 400
    deep = [f"{number}/" + "a/" * 62 + "x" for number in range(900)]
    tracemalloc.start()
    assert commit(asks, *(put(path, b"x") for path in deep)).status == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150_000_000
    assert commit(asks, put(deep[0], b"x")).status == 200
    assert len(files(asks)) == 64
