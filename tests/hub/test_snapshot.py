"""What a repository lists, and which of its files may lie in one folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from hubkit.hub import snapshot as module
from hubkit.hub.address import Repository
from hubkit.hub.session import HubSession
from hubkit.hub.snapshot import Snapshot, fetch_manifest, find_snapshot, list_files
from registry import BaseModelInfo, FileInfo, Manifest, Method
from registry.errors import (
    CorruptBlobError,
    FolderError,
    ManifestError,
    RemoteAnswerError,
    RemoteNotFoundError,
    RemoteUnreachableError,
)
from tests.support.hostile import Answer, Hostile

COMMIT = "c" * 40
WEIGHTS = "adapter_model.safetensors"
PEFT = {"adapter_config.json": b"{}", WEIGHTS: b"weights"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes = b"", **other: Any) -> dict[str, Any]:
    return {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": git_sha1(content),
        **other,
    }


def serve(
    hostile: Hostile,
    files: dict[str, bytes],
    *,
    name: str = "ada/film",
    entries: list[dict[str, Any]] | None = None,
) -> None:
    """A repository at one commit, which lists `entries`, by default what it holds."""
    listing = [entry(*file) for file in files.items()] if entries is None else entries

    def answer(request: Answer) -> None:
        path = request.path.partition("?")[0]
        if "/tree/" in path:
            request.json(listing)
        elif "/resolve/" in path:
            request.send(files[path.partition(f"/resolve/{COMMIT}/")[2]])
        elif path.endswith("/refs"):
            tags = [{"name": tag, "targetCommit": COMMIT} for tag in ("v9", "v10", "demo")]
            branches = [{"name": "main", "targetCommit": COMMIT}]
            request.json({"tags": tags, "branches": branches, "converts": []})
        elif "/revision/gone" in path:
            request.json({"error": "Revision not found"}, 404)
        else:
            siblings = [{"rfilename": path} for path in files]
            request.json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})

    hostile.answer = answer


def at(session: HubSession, revision: str | None = COMMIT) -> Repository:
    return Repository(session.hub, "ada/film", revision)


def manifest_of(**files: bytes) -> Manifest:
    return Manifest(
        kind="adapter",
        method=Method(type="lora"),
        base_model=BaseModelInfo(id="team/bert"),
        files={
            path.replace("_", "."): FileInfo(
                sha256=hashlib.sha256(content).hexdigest(), size=len(content)
            )
            for path, content in files.items()
        },
    )


def test_a_file_is_listed_by_the_digest_of_its_bytes(session: HubSession, hostile: Hostile) -> None:
    large = {"oid": "a" * 64, "size": 5000}
    listed = [entry("a.txt", b"text"), entry(WEIGHTS, b"pointer", lfs=large)]
    serve(hostile, {}, entries=[*listed, {"type": "directory", "path": "b", "oid": "b" * 40}])
    files = list_files(session, at(session))
    assert {name: (file.size, file.digest) for name, file in files.items()} == {
        "a.txt": (4, git_sha1(b"text")),
        WEIGHTS: (5000, "a" * 64),
    }


def test_of_another_tools_repository_only_what_an_adapter_may_need_is_listed(
    session: HubSession, hostile: Hostile
) -> None:
    kept = {**PEFT, "README.md": b"", "tokenizer.json": b"", "pytorch_adapter.bin": b""}
    left_out = (".gitattributes", "logs/.x", "training_args.bin", "checkpoint-5/a.json", "other.pt")
    left_out += ("runs/1/events.out.tfevents.1.host",)
    serve(hostile, {**kept, **dict.fromkeys(left_out, b"")})
    assert list_files(session, at(session)).keys() == kept.keys()


@pytest.mark.parametrize(
    "paths",
    [("a/B", "a/b"), ("a", "a/b"), ("A/x", "a"), ("ß", "ss"), ("é", "e\u0301")],
    ids="-".join,
)
def test_paths_that_are_one_place_on_some_system_are_refused(
    session: HubSession, hostile: Hostile, paths: tuple[str, str]
) -> None:
    serve(hostile, dict.fromkeys(paths, b""))
    with pytest.raises(RemoteAnswerError, match="which cannot lie in one folder"):
        list_files(session, at(session))


@pytest.mark.parametrize("path", ["/etc/x", "a//x", "con", "a\\x", "a\nx"])
def test_a_path_that_leaves_the_folder_is_refused(
    session: HubSession, hostile: Hostile, path: str
) -> None:
    serve(hostile, {path: b"", **PEFT})
    with pytest.raises(RemoteAnswerError, match="expected a relative path"):
        list_files(session, at(session))


def test_a_path_that_no_manifest_can_list_is_left_out_beside_a_version(
    session: HubSession, hostile: Hostile
) -> None:
    serve(hostile, {"hubkit.json": b"{}", "con": b"", "a.txt": b""})
    assert list_files(session, at(session)).keys() == {"hubkit.json", "a.txt"}


def test_a_repository_with_too_many_files_is_refused(
    session: HubSession, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 3)
    serve(hostile, dict.fromkeys("abcd", b""))
    with pytest.raises(RemoteAnswerError, match="lists more than 3 files"):
        list_files(session, at(session))


def test_a_repository_is_found_at_its_commit_and_nothing_of_it_is_fetched(
    session: HubSession, hostile: Hostile
) -> None:
    serve(hostile, PEFT)
    found = find_snapshot(session, at(session, "main"))
    assert found.repository == at(session)
    assert found.files.keys() == PEFT.keys()
    assert found.manifest() is None
    assert not [path for _, path, _ in hostile.asked if "/resolve/" in path]


def test_a_repository_without_an_adapter_is_refused(session: HubSession, hostile: Hostile) -> None:
    serve(hostile, {"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(FolderError, match=r"holds no adapter: .* found config.json, model.safe"):
        find_snapshot(session, at(session, "main"))


def test_another_name_is_not_followed(session: HubSession, hostile: Hostile) -> None:
    serve(hostile, PEFT, name="eve/film")
    with pytest.raises(RemoteNotFoundError, match="is called eve/film now"):
        find_snapshot(session, at(session, "main"))


def test_a_revision_that_is_not_there_names_those_that_are(
    session: HubSession, hostile: Hostile
) -> None:
    serve(hostile, PEFT)
    with pytest.raises(RemoteNotFoundError, match="no revision gone; it has v10, v9, demo, main"):
        find_snapshot(session, at(session, "gone"))


def test_a_file_is_fetched_once_and_then_found_without_the_hub(
    session: HubSession, hostile: Hostile
) -> None:
    serve(hostile, PEFT)
    found = find_snapshot(session, at(session, "main"))
    assert found.open(WEIGHTS).read_bytes() == PEFT[WEIGHTS]
    asked = len(hostile.asked)
    offline = find_snapshot(None, at(session, "main"))
    assert offline.open(WEIGHTS).read_bytes() == PEFT[WEIGHTS]
    assert len(hostile.asked) == asked
    with pytest.raises(RemoteUnreachableError, match="HF_HUB_OFFLINE is set"):
        offline.open("adapter_config.json")
    with pytest.raises(FolderError, match=r"has no file other\.txt"):
        offline.open("other.txt")


def test_a_manifest_is_read_within_its_bound(session: HubSession, hostile: Hostile) -> None:
    manifest = manifest_of()
    serve(hostile, {"hubkit.json": manifest.to_json()})
    assert fetch_manifest(session, at(session, "main")) == manifest
    serve(hostile, {}, entries=[{**entry("hubkit.json"), "size": 2**40}])
    with pytest.raises(RemoteAnswerError, match="is said to have 1,099,511,627,776 bytes"):
        fetch_manifest(session, at(session, "main"))
    serve(hostile, {"hubkit.json": json.dumps({"schema": 2}).encode()})
    with pytest.raises(ManifestError, match="is not a manifest that hubkit reads"):
        fetch_manifest(session, at(session, "main"))


def version_at(session: HubSession, hostile: Hostile, files: dict[str, bytes]) -> Snapshot:
    serve(hostile, {"hubkit.json": manifest_of().to_json(), **files})
    return find_snapshot(session, at(session, "main"))


def test_a_version_is_written_as_its_manifest_lists_it(
    session: HubSession, hostile: Hostile, tmp_path: Path
) -> None:
    manifest = manifest_of(a_txt=b"text", README_md=b"its own card")
    there = {"a.txt": b"text", "README.md": b"hubkit's", "hubkit-own-card.md": b"its own card"}
    found = version_at(session, hostile, {**there, "b.txt": b"put there by others"})
    found.copy_version(manifest, tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert written == {
        "a.txt": b"text",
        "README.md": b"its own card",
        "hubkit.json": manifest.to_json(),
    }


@pytest.mark.parametrize("changed", [b"TEXT", b"longer text"], ids=["same size", "another size"])
def test_a_file_that_was_changed_by_hand_is_refused(
    session: HubSession, hostile: Hostile, tmp_path: Path, changed: bytes
) -> None:
    found = version_at(session, hostile, {"a.txt": changed})
    with pytest.raises(CorruptBlobError, match=r"a.txt: hubkit.json says .* by hand"):
        found.copy_version(manifest_of(a_txt=b"text"), tmp_path)
    with pytest.raises(FolderError, match=r"lacks b\.txt, which its hubkit\.json lists"):
        found.copy_version(manifest_of(b_txt=b"text"), tmp_path)


def test_of_another_tools_files_no_foreign_pickle_is_copied(
    session: HubSession, hostile: Hostile, tmp_path: Path
) -> None:
    serve(hostile, {**PEFT, "a/b.json": b"{}", "other.bin": b"", "hubkit-own-card.md": b""})
    found = find_snapshot(session, at(session, "main"))
    target = tmp_path / "target"
    target.mkdir()
    found.copy_files(target)
    copied = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert copied == {*PEFT, "a/b.json"}
