import errno
import hashlib
import io
import os
import socket
import sqlite3
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import FileInfo
from registry.errors import InvalidNameError, NotAFileError, StorageError
from registry.storage import files
from registry.storage.files import (
    CHUNK,
    find_clash,
    hash_stream,
    leave_to_sqlite,
    open_file,
    parse_digest,
    parse_path,
)


@pytest.mark.parametrize(
    "path",
    [
        *("a", "a/b.json", "ünï/code", "a b/c", ".gitattributes", "x" * 255),
        *("console", "null", "com", "com10", "auxiliary.txt", "x.con", "lptx"),
    ],
)
def test_a_relative_path_is_accepted_as_it_is(path: str) -> None:
    assert parse_path(path) == path


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "has 0 bytes"),
        ("a/" * 300, "has 600 bytes"),
        ("/etc/passwd", "is absolute"),
        ("//server/share", "is absolute"),
        ("../up", r"has the part '\.\.'"),
        ("a/../b", r"has the part '\.\.'"),
        ("./a", r"has the part '\.'"),
        ("a//b", "has the part ''"),
        ("a/", "has the part ''"),
        ("a\\b", "some system does not allow"),
        ("C:file", "some system does not allow"),
        ("a\nb", "some system does not allow"),
        ("a\0b", "some system does not allow"),
        ("a./b", r"ends in '\.'"),
        ("a ", "ends in ' '"),
        ("x" * 256, "longer than 255 bytes"),
        ("CON", "is a device on Windows"),
        ("a/nul.txt", "is a device on Windows"),
        ("Aux.tar.gz/b", "is a device on Windows"),
        ("com1", "is a device on Windows"),
        ("LPT9.json", "is a device on Windows"),
        ("COM\u00b9", "is a device on Windows"),
        ("prn .txt", "is a device on Windows"),
        ("CONOUT$", "is a device on Windows"),
        ("file.txt:stream", "some system does not allow"),
        ("hubkit.json", "is the manifest's own"),
        ("HubKit.JSON", "is the manifest's own"),
        ("\ud800", "is not valid Unicode"),
    ],
)
def test_a_path_that_could_leave_its_folder_or_not_travel_is_refused(
    path: str, problem: str
) -> None:
    with pytest.raises(InvalidNameError, match=problem):
        parse_path(path)


@given(st.text(st.sampled_from("ab./\\: ~\0"), max_size=12))
def test_an_accepted_path_stays_inside_its_folder(text: str) -> None:
    try:
        path = PurePosixPath("root") / parse_path(text)
    except InvalidNameError:
        return
    assert path.parts[0] == "root"
    assert ".." not in path.parts
    assert str(path) == f"root/{text}"


@pytest.mark.parametrize(
    "text", ["", "ab", "A" * 64, "g" * 64, "a" * 65, "../" + "a" * 61, "a" * 64 + "\n"]
)
def test_a_digest_is_64_lower_case_hexadecimal_digits(text: str) -> None:
    with pytest.raises(InvalidNameError, match="64 lower-case hexadecimal digits"):
        parse_digest(text)


@pytest.mark.parametrize(
    ("paths", "clash"),
    [
        (["a", "b", "a-b", "c/a"], None),
        (["b", "a/B", "a/b"], ("a/B", "a/b")),
        (["é", "e\u0301"], ("é", "e\u0301")),
        (["a-b", "a/b/c", "a"], ("a", "a/b/c")),
        (["A/x", "a"], ("a", "A/x")),
        (["a/b/c", "A/B"], ("A/B", "a/b/c")),
    ],
)
def test_two_paths_that_no_folder_holds_on_every_system_are_found(
    paths: list[str], clash: tuple[str, str] | None
) -> None:
    assert find_clash(paths) == clash


@given(st.binary(max_size=200), st.integers(0, 300))
def test_hashing_reads_no_further_than_one_byte_past_the_bound(content: bytes, most: int) -> None:
    stream, copy = io.BytesIO(content), io.BytesIO()
    info = hash_stream(stream, most=most, target=copy)
    read = content[: most + 1]
    assert stream.tell() == len(read)
    assert copy.getvalue() == read
    assert info == FileInfo(sha256=hashlib.sha256(read).hexdigest(), size=len(read))


def test_hashing_spans_chunks() -> None:
    content = b"x" * (2 * CHUNK + 1)
    info = hash_stream(io.BytesIO(content))
    assert info == FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def test_what_is_large_is_written_back_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SYNCED_AT_ONCE", CHUNK)
    synced: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    content = os.urandom(3 * CHUNK + 1)
    with (tmp_path / "copy").open("wb") as target:
        info = hash_stream(io.BytesIO(content), target=target)
        assert synced
        assert {*synced} == {target.fileno()}
    assert (tmp_path / "copy").read_bytes() == content
    assert info == FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def test_a_disk_that_fails_while_it_is_written_to_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SYNCED_AT_ONCE", CHUNK)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with (tmp_path / "copy").open("wb") as target, pytest.raises(OSError, match="Input/output"):
        hash_stream(io.BytesIO(bytes(2 * CHUNK)), target=target)


def test_a_file_is_opened_with_all_its_bytes(tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK + 1)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_file(tmp_path / name) as stream:
            assert stream.read() == content
            stream.seek(-1, os.SEEK_END)
            assert stream.read(5) == content[-1:]


@pytest.mark.skipif(sys.platform == "win32", reason="has neither pipes nor devices in folders")
@pytest.mark.timeout(10)
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        found = {"pipe": "a pipe", "folder": "a folder", "link": "a pipe", "socket": "a socket"}
        for name, kind in found.items():
            with pytest.raises(NotAFileError, match=f"{name} cannot be .* a file, found {kind}"):
                open_file(tmp_path / name)
    with pytest.raises(NotAFileError, match="found a device"):
        open_file("/dev/zero")
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nothing")


@pytest.mark.timeout(10)
def test_a_file_that_becomes_a_pipe_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    opened = os.open

    def replace_first(name: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", replace_first)
    with pytest.raises(NotAFileError, match="found a pipe"):
        open_file(path)


def test_an_open_database_is_not_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    sqlite3.connect(path).execute("CREATE TABLE x (y)").close()
    (tmp_path / "link").symlink_to("some.db")
    open_file(path).close()
    leave_to_sqlite(path)
    for name in ("some.db", "link"):
        with pytest.raises(NotAFileError, match="found the database of a registry"):
            open_file(tmp_path / name)
    os.replace(path, tmp_path / "gone.db")
    open_file(tmp_path / "gone.db").close()


def test_an_error_in_reading_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with open_file(tmp_path / "file") as stream:
        folder = os.open(tmp_path, os.O_RDONLY)
        os.dup2(folder, stream.fileno())
        os.close(folder)
        for size in (-1, 1):
            with pytest.raises(StorageError, match=r"Cannot read .*file: Is a directory"):
                stream.read(size)
