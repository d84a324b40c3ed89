"""Blobs in object storage, against a server that speaks the protocol of S3 over HTTP."""

import hashlib
import io
import os
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import boto3
import obstore
import pytest
from moto.server import MotoRequestHandler

from registry import AdapterRef, Folder, open_catalog, read_folder
from registry.errors import CorruptBlobError, DatabaseError, StorageError
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import Collection, collect_garbage
from registry.storage.blobs import Arrival, BlobStore, read_blob, verify_blob
from registry.storage.files import FileInfo
from registry.storage.object_blobs import PART, ObjectBlobStore
from tests.support.object_storage import BUCKET, endpoint, s3, s3_client

__all__ = ["endpoint", "s3", "s3_client"]


@pytest.fixture
def blobs(s3: object, tmp_path: Path) -> BlobStore:
    return ObjectBlobStore(f"s3://{BUCKET}/team")


def info(content: bytes) -> FileInfo:
    return FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def keys(s3: "boto3.client") -> list[str]:
    """Return the keys of all objects but the records."""
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    return [key for key in found if "records/" not in key]


def uploads(s3: "boto3.client") -> list[str]:
    return [item["Key"] for item in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART + 12345])
def test_bytes_come_back_as_they_were_put_under_their_digest(
    s3: "boto3.client", blobs: BlobStore, size: int
) -> None:
    content = os.urandom(size)
    expected = info(content)
    assert blobs.put(io.BytesIO(content), expected) == expected
    digest = expected.sha256
    (key,) = keys(s3)
    assert key == f"team/sha256/{digest[:2]}/{digest[2:4]}/{digest}"
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
    with blobs.open(digest) as stream:
        assert stream.read() == content
    verify_blob(blobs, expected)
    assert blobs.size(digest) == size
    assert blobs.examine(digest) == expected
    assert uploads(s3) == []


def test_bytes_of_unknown_digest_are_named_by_it(s3: "boto3.client", blobs: BlobStore) -> None:
    assert blobs.put(io.BytesIO(b"manifest")) == info(b"manifest")
    assert read_blob(blobs, info(b"manifest").sha256, most=100) == b"manifest"


@pytest.mark.parametrize("size", [10, 2 * PART])
@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"x", lambda c: b"x" + c[1:]])
def test_wrong_bytes_are_never_there(
    s3: "boto3.client", blobs: BlobStore, size: int, change: Callable[[bytes], bytes]
) -> None:
    content = bytes(size)
    with pytest.raises(CorruptBlobError, match="weights: expected"):
        blobs.put(io.BytesIO(change(content)), info(content), label="weights")
    assert keys(s3) == uploads(s3) == []


def test_what_is_there_is_not_sent_again(s3: "boto3.client", blobs: BlobStore) -> None:
    content = b"once"
    blobs.put(io.BytesIO(content), info(content))
    unread = io.BytesIO(content)
    blobs.put(unread, info(content))
    assert unread.tell() == 0


def test_an_object_of_the_wrong_size_is_replaced(s3: "boto3.client", blobs: BlobStore) -> None:
    content = b"right"
    blobs.put(io.BytesIO(content))
    (key,) = keys(s3)
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"cut")
    blobs.put(io.BytesIO(content), info(content))
    verify_blob(blobs, info(content))


class _Recorder(BaseHTTPRequestHandler):
    """Says that there is nothing, takes everything, and keeps the headers it came with."""

    puts: ClassVar[list[Message]] = []

    def do_HEAD(self) -> None:
        self.send_error(404)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.puts.append(self.headers)
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_upload_tells_the_server_its_checksum_and_to_overwrite_nothing(
    s3: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), _Recorder) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, daemon=True).start()
        ObjectBlobStore(f"s3://{BUCKET}").put(io.BytesIO(b"checked"))
        server.shutdown()
    (headers,) = _Recorder.puts
    assert headers["If-None-Match"] == "*"
    checksum = b64decode(headers["x-amz-checksum-sha256"])
    assert checksum == hashlib.sha256(b"checked").digest()


def test_a_part_of_a_blob_is_read_without_the_rest(s3: "boto3.client", blobs: BlobStore) -> None:
    content = os.urandom(PART + 100)
    digest = blobs.put(io.BytesIO(content), info(content)).sha256
    with blobs.open(digest) as stream:
        stream.seek(-50, io.SEEK_END)
        assert stream.read() == content[-50:]
        stream.seek(1234)
        assert stream.read(10) == content[1234:1244]


def test_a_damaged_object_is_named_and_set_aside(s3: "boto3.client", blobs: BlobStore) -> None:
    content = b"right"
    expected = blobs.put(io.BytesIO(content))
    (key,) = keys(s3)
    assert blobs.set_aside(expected.sha256) is None
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"wrong")
    with pytest.raises(CorruptBlobError, match=rf"s3://{BUCKET}/team/sha256/"):
        verify_blob(blobs, expected)
    kept = blobs.set_aside(expected.sha256)
    assert kept is not None
    assert kept.startswith(f"s3://{BUCKET}/team/quarantine/{expected.sha256}-")
    assert blobs.find_set_aside(expected.sha256) == [kept]
    assert blobs.find_set_aside("0" * 64) == []
    assert blobs.size(expected.sha256) is None


def test_a_missing_object_is_a_lost_blob(s3: "boto3.client", blobs: BlobStore) -> None:
    digest = info(b"never put").sha256
    assert (blobs.size(digest), blobs.examine(digest)) == (None, None)
    with pytest.raises(CorruptBlobError, match="weights: the registry lost its bytes"):
        blobs.open(digest, label="weights")


def test_a_bucket_that_is_not_there_is_a_storage_error(s3: "boto3.client", tmp_path: Path) -> None:
    blobs = ObjectBlobStore("s3://nowhere/team")
    with pytest.raises(StorageError, match=r"Cannot store .* s3://nowhere/team: .* Check the URL"):
        blobs.put(io.BytesIO(b"x"))


@pytest.mark.parametrize("url", ["ftp://host/x", "bucket", "s3:bucket"])
def test_a_url_that_names_no_storage_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="Check HUBKIT_STORAGE_URL"):
        ObjectBlobStore(url)


def test_a_registry_publishes_to_and_loads_from_object_storage(
    s3: "boto3.client", tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    folder = make_folder(content=os.urandom(PART + 1))
    ref = AdapterRef.parse("alice/sst2")
    catalog = open_catalog(tmp_path / "home", storage=f"s3://{BUCKET}")
    version = catalog.publish(ref, folder)
    assert not (tmp_path / "home" / "blobs").exists()
    assert len(keys(s3)) == len(folder.manifest.files) + 2  # the manifest, and the list of files
    # Another machine has the database, and an empty cache.
    assert read_folder(catalog.folder(version)).manifest == folder.manifest
    copy = open_catalog(tmp_path / "copy")
    assert copy.pull(ref, catalog).manifest_digest == version.manifest_digest
    assert read_folder(copy.folder(copy.resolve(ref))).manifest == folder.manifest


def test_garbage_in_object_storage_goes_with_the_second_collection(
    s3: "boto3.client", tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    catalog = open_catalog(tmp_path / "home", storage=f"s3://{BUCKET}/team")
    kept = catalog.publish(AdapterRef.parse("kept"), make_folder())
    before = keys(s3)
    doomed = catalog.publish(AdapterRef.parse("doomed"), make_folder())
    catalog.delete(doomed.ref.repository)
    stranger = f"team/sha256/{doomed.manifest_digest[:2]}/README"
    s3.put_object(Bucket=BUCKET, Key=stranger, Body=b"not of hubkit")
    garbage = {*keys(s3)} - {*before, stranger}
    (finding,) = check_registry(catalog).findings
    assert f"s3://{BUCKET}/{stranger}. hubkit neither reads" in finding.text
    assert collect_garbage(catalog) == Collection()  # younger than the grace period
    first = collect_garbage(catalog, grace=timedelta(0))
    assert (first.condemned, first.removed) == (len(garbage), 0)
    assert collect_garbage(catalog, dry_run=True, grace=timedelta(0)).removed == len(garbage)
    assert garbage < {*keys(s3)}
    second = collect_garbage(catalog, grace=timedelta(0))
    assert (second.removed, second.removed_bytes) == (len(garbage), first.condemned_bytes)
    assert {*keys(s3)} == {*before, stranger}
    catalog.folder(kept)


def test_registries_that_are_given_the_same_place_refuse_to_go_on(
    s3: "boto3.client", tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    url, ref = f"s3://{BUCKET}/team", AdapterRef.parse("one")
    first, second = (open_catalog(tmp_path / name, storage=url) for name in ("first", "second"))
    third = open_catalog(tmp_path / "third")
    for _ in range(3):
        third.publish(ref, make_folder())
    third = open_catalog(tmp_path / "third", storage=url)
    first.publish(ref, make_folder())
    before = {item["Key"]: item["ETag"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    record = re.escape(f"{url}/records/000/000000001.json is not entry 1 of this registry's log")
    older = "The database is older than the records beside it"
    for change, problem in (
        (lambda: second.publish(ref, make_folder(content=b"")), older),
        (lambda: collect_garbage(second, grace=timedelta(0)), older),
        (lambda: third.set_alias(ref, "best"), record),
    ):
        with pytest.raises(DatabaseError, match=problem):
            change()
    with pytest.raises(DatabaseError, match=f"are records in {url}/records.*For a new registry"):
        open_catalog(tmp_path / "fourth", storage=url)
    after = {item["Key"]: item["ETag"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert before.items() <= after.items()
    assert {key for key in after.keys() - before.keys() if "sha256" not in key} == set()
    assert first.set_alias(ref, "best").number == 1


def test_a_small_adapter_is_published_in_few_requests(
    s3: "boto3.client",
    tmp_path: Path,
    make_folder: Callable[..., Folder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog = open_catalog(tmp_path / "home", storage=f"s3://{BUCKET}/team")
    catalog.publish(AdapterRef.parse("one"), make_folder())
    folder = make_folder(content=b"new")
    asked: list[str] = []
    monkeypatch.setattr(
        MotoRequestHandler, "log_request", lambda self, *_: asked.append(self.requestline)
    )
    catalog.publish(AdapterRef.parse("two"), folder)
    # Its manifest, the list of its files and its weights are looked for, stored, and made sure of
    # at the end; the other file is there already. Of records, one is read, one must not be there,
    # one is written, and after the commit written where all find it, when that of the one before
    # can be removed.
    assert len(asked) <= 3 + 3 + 3 + 2 + 3 + 2


def test_an_object_that_is_removed_while_it_is_published_is_stored_again(
    s3: "boto3.client", tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    catalog = open_catalog(tmp_path / "home", storage=f"s3://{BUCKET}/team")
    folder = make_folder()
    catalog.publish(AdapterRef.parse("doomed"), folder)
    catalog.delete(AdapterRef.parse("doomed"))
    put_all = catalog.blobs.put_all

    def then_collect(arrivals: Iterable[Arrival]) -> None:
        put_all(arrivals)
        catalog.blobs.put_all = put_all  # type: ignore[method-assign]
        for _ in range(2):
            collected = collect_garbage(catalog, grace=timedelta(0))
        assert collected.removed > 0

    catalog.blobs.put_all = then_collect  # type: ignore[method-assign]
    catalog.folder(catalog.publish(AdapterRef.parse("again"), folder))


def test_the_size_of_what_is_in_the_trash_is_told_and_nothing_moves(
    s3: "boto3.client", blobs: BlobStore
) -> None:
    expected = blobs.put(io.BytesIO(b"content"))
    in_place = keys(s3)
    blobs.discard([expected.sha256])
    (trashed,) = keys(s3)
    assert trashed.startswith(f"team/trash/{expected.sha256}/")
    assert blobs.size(expected.sha256) == expected.size
    assert keys(s3) == [trashed]
    assert blobs.ensure_in_place(expected.sha256) == expected.size
    assert keys(s3) == [*in_place, trashed]


def test_with_a_buffer_of_one_byte_no_byte_is_fetched_that_is_not_asked_for(
    s3: "boto3.client", blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(PART)
    digest = blobs.put(io.BytesIO(content), info(content)).sha256
    fetched: list[int] = []
    get_range = obstore.get_range

    def counted(*arguments: Any, **options: Any) -> obstore.Bytes:
        found = get_range(*arguments, **options)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(obstore, "get_range", counted)
    with blobs.open(digest, buffer=1) as stream:
        assert stream.read(8) == content[:8]
        assert stream.read(1000) == content[8:1008]
        assert stream.seek(0, io.SEEK_END) == PART
        assert stream.read(1) == b""
    assert fetched == [8, 1000]
    fetched.clear()
    with blobs.open(digest) as stream:
        for start in range(0, PART, PART // 16):
            assert stream.read(PART // 16) == content[start : start + PART // 16]
    assert fetched == [PART]
    fetched.clear()
    with blobs.open(digest) as stream:
        assert stream.read() == content
    assert fetched == [PART]
