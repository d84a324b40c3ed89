"""The ids are those that git itself gives."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.history.git import blob_id, commit_id, folder_ids, pointer, tree_id
from registry.storage.files import FileInfo

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


def git(folder: Path, *arguments: str, **more: str) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **own, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


FILES = {
    "a.txt": b"one\n",
    "a/b.txt": b"two",
    "a/c/d.json": b"{}",
    "a-b": b"sorts before the folder a",
    "empty": b"",
    "spaß é/中.txt": "中".encode(),
    "zeros.bin": b"\0" * 4096,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    git(tmp_path, "-c", "core.autocrlf=false", "add", "--all")
    return tmp_path


def test_a_blob_has_the_id_that_git_gives_it(checkout: Path) -> None:
    for path, content in FILES.items():
        assert blob_id(content) == git(checkout, "hash-object", "--", path)


def test_a_tree_and_its_folders_have_the_ids_that_git_gives_them(checkout: Path) -> None:
    ids = folder_ids((path, blob_id(content)) for path, content in FILES.items())
    root = git(checkout, "write-tree")
    assert ids[""] == root == tree_id((path, blob_id(FILES[path])) for path in reversed(FILES))
    for folder in ("a", "a/c", "spaß é"):
        assert ids[folder] == git(checkout, "rev-parse", f"{root}:{folder}")
    assert set(ids) == {"", "a", "a/c", "spaß é"}


def test_no_files_make_the_empty_tree() -> None:
    assert tree_id([]) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_commit_has_the_id_that_git_gives_it(checkout: Path) -> None:
    tree = git(checkout, "write-tree")
    at = datetime(2026, 3, 1, 12, 30, 15, 999_999, tzinfo=UTC)
    when = f"{int(at.timestamp())} +0000"
    names = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "ada"), ("EMAIL", ""), ("DATE", when))
    }
    message = "Add ü\n\nlines\nof text"
    git(checkout, "config", "user.useConfigOnly", "true")
    first = git(checkout, "commit-tree", tree, "-m", message, **names)
    # git ends what it is given by -m in a line feed.
    assert commit_id(tree, None, "ada", at, f"{message}\n") == first
    second = git(checkout, "commit-tree", tree, "-p", first, "-m", "again", **names)
    assert commit_id(tree, first, "ada", at, "again\n") == second


def test_an_author_cannot_add_lines_to_a_commit() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    plain = commit_id("0" * 40, None, "a parent x", at, "m")
    assert commit_id("0" * 40, None, "<a\nparent x>", at, "m") == plain


def test_a_pointer_is_what_git_lfs_writes() -> None:
    assert pointer(FileInfo(sha256="ab" * 32, size=7)) == (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 7\n"
    )
