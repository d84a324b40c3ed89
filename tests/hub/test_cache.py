"""What came from a hub before is used again only if it is what its digest says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from hubkit.hub.address import DEFAULT, Hub, Repository
from hubkit.hub.answers import RemoteFile
from hubkit.hub.cache import HubCache, Listing
from registry.errors import StorageError

BYTES = b"weights of a film"
FILE = RemoteFile("a/w.safetensors", len(BYTES), hashlib.sha256(BYTES).hexdigest())
COMMIT = "c" * 40
OWN, STOCK = Hub("https://hub.example.org"), Hub(DEFAULT)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def repository(hub: Hub = OWN, revision: str | None = None) -> Repository:
    return Repository(hub, "ada/film", revision)


def kept(hub: Hub = OWN) -> tuple[HubCache, Path]:
    cache = HubCache(hub)
    return cache, cache.add(FILE, lambda to: to.write(BYTES) and None)


def stock_cache(tmp_path: Path, *, link: str = FILE.digest) -> Path:
    """As the stock client leaves it: a blob by its digest, linked to from a snapshot."""
    folder = tmp_path / "hub" / "models--ada--film"
    for name in ("blobs", f"snapshots/{COMMIT}/a", "refs/feature"):
        (folder / name).mkdir(parents=True)
    (folder / "blobs" / link).write_bytes(BYTES)
    os.symlink(folder / "blobs" / link, folder / "snapshots" / COMMIT / FILE.path)
    for ref in ("main", "feature/x"):
        (folder / "refs" / ref).write_text(COMMIT)
    return folder


def test_bytes_are_found_by_their_digest_in_whichever_repository() -> None:
    cache, path = kept()
    assert path.read_bytes() == BYTES
    assert cache.file(repository(), FILE) == path
    assert HubCache(OWN).file(Repository(OWN, "bob/other", None), FILE) == path
    assert HubCache(Hub("https://other.example.org")).file(repository(), FILE) is None


@pytest.mark.parametrize("content", [BYTES[::-1], BYTES[:-1], BYTES + b"x", b""])
def test_damaged_bytes_are_removed_and_not_used(content: bytes) -> None:
    cache, path = kept()
    path.write_bytes(content)
    assert cache.file(repository(), FILE) is None
    assert not path.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    cache, path = kept()
    (tmp_path / "elsewhere").write_bytes(BYTES)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.file(repository(), FILE) is None
    assert (tmp_path / "elsewhere").read_bytes() == BYTES


def test_what_is_not_written_whole_is_not_kept(tmp_path: Path) -> None:
    def fail(to: object) -> None:
        raise StorageError("The disk is full.")

    cache = HubCache(OWN)
    with pytest.raises(StorageError, match="disk is full"):
        cache.add(FILE, fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_revision_is_recalled_with_its_files() -> None:
    cache = HubCache(OWN)
    assert cache.recall(repository(revision="v1")) is None
    listing = Listing(repository(revision=COMMIT), {FILE.path: FILE})
    cache.remember(repository(revision="v1"), listing)
    assert HubCache(OWN).recall(repository(revision="v1")) == listing
    assert cache.recall(repository(revision=COMMIT)) == listing  # a commit stays what it is
    assert cache.recall(repository(revision="v2")) is None
    assert cache.recall(Repository(OWN, "ada/other", "v1")) is None
    assert cache.revisions(repository()) == ["v1"]


@pytest.mark.parametrize("revision", ["../../main", "/etc/passwd", "a/../../b"])
def test_a_revision_leads_out_of_no_folder(tmp_path: Path, revision: str) -> None:
    cache = HubCache(OWN)
    cache.remember(repository(revision=revision), Listing(repository(revision=COMMIT), {}))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    assert {path.relative_to(tmp_path).parts[:3] for path in written} == {
        ("hubkit", "hubs", "hub.example.org")
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"not json", b'[{"path": "../x", "size": 1, "digest": "' + b"a" * 64],
)
def test_a_note_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    cache = HubCache(OWN)
    cache.remember(repository(revision="v1"), Listing(repository(revision=COMMIT), {}))
    (note,) = tmp_path.rglob(f"{COMMIT}.json")
    note.write_bytes(content)
    assert cache.recall(repository(revision="v1")) is None


def test_what_the_stock_client_has_of_the_default_hub_is_read(tmp_path: Path) -> None:
    folder = stock_cache(tmp_path)
    cache = HubCache(STOCK)
    assert cache.file(repository(STOCK), FILE) == folder / "blobs" / FILE.digest
    found = Listing(repository(STOCK, COMMIT), {FILE.path: FILE})
    for revision in (None, "main", "feature/x", COMMIT):
        assert cache.recall(repository(STOCK, revision)) == found
    for revision in ("other", "../refs/main", "feature/../main"):
        assert cache.recall(repository(STOCK, revision)) is None
    assert HubCache(OWN).recall(repository(OWN, "main")) is None


def test_what_the_stock_client_has_is_held_to_its_digest(tmp_path: Path) -> None:
    folder = stock_cache(tmp_path)
    (folder / "blobs" / FILE.digest).write_bytes(BYTES[::-1])
    assert HubCache(STOCK).file(repository(STOCK), FILE) is None


def test_a_blob_of_the_stock_client_that_is_named_after_no_digest_is_left_out(
    tmp_path: Path,
) -> None:
    stock_cache(tmp_path, link="etag-of-a-hub")
    assert HubCache(STOCK).recall(repository(STOCK, "main")) is None
