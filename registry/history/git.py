"""What git calls things: ids of blobs, trees and commits, so that anybody can check them.

The forms are those of git's object database (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
A large file stands in a tree as the pointer of Git LFS
(https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime

from registry.storage.files import FileInfo

_FOLDER = b"40000"


def blob_id(content: bytes) -> str:
    """Return the id of a file's content."""
    return _object_id(b"blob", content)


def pointer(info: FileInfo) -> bytes:
    """Return the pointer to a large file."""
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{info.sha256}")
    return "\n".join([*lines, f"size {info.size}", ""]).encode()


def tree_id(files: Iterable[tuple[str, str]]) -> str:
    """Return the id of a tree.

    Args:
        files: Path and blob id of each, in any order; no path is a folder of another.
    """
    return folder_ids(files)[""]


def folder_ids(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the ids of a tree and of each folder in it, by path; that of the tree is ''."""
    folders: dict[str, list[tuple[bytes, bytes, str]]] = {"": []}
    for path, oid in files:
        folder, _, name = path.rpartition("/")
        outer = folder
        while outer not in folders:
            folders[outer] = []
            outer = outer.rpartition("/")[0]
        folders[folder].append((name.encode(), b"100644", oid))
    ids: dict[str, str] = {}
    # The deepest first, because a folder's entry holds its id.
    for folder in sorted(folders, key=_depth, reverse=True):
        # Git sorts a folder as if its name ended in a slash.
        listed = sorted(folders[folder], key=lambda one: one[0] + b"/" * (one[1] == _FOLDER))
        content = b"".join(
            mode + b" " + name + b"\0" + bytes.fromhex(oid) for name, mode, oid in listed
        )
        ids[folder] = _object_id(b"tree", content)
        if folder:
            outer, _, name = folder.rpartition("/")
            folders[outer].append((name.encode(), _FOLDER, ids[folder]))
    return ids


def commit_id(tree: str, parent: str | None, author: str, at: datetime, message: str) -> str:
    """Return the id of a commit.

    Args:
        tree: The id of its tree.
        parent: The id of the commit before it; None for the first.
        author: Who made it, on one line.
        at: When; whole seconds count.
        message: What they said.
    """
    # Git ends a name at these, and takes anything else.
    name = author.translate({ord("<"): None, ord(">"): None, ord("\n"): " "}).strip() or "unknown"
    person = f"{name} <> {int(at.timestamp())} +0000"
    parents = [] if parent is None else [f"parent {parent}"]
    lines = [f"tree {tree}", *parents, f"author {person}", f"committer {person}", "", message]
    return _object_id(b"commit", "\n".join(lines).encode())


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _object_id(kind: bytes, content: bytes) -> str:
    head = kind + b" " + str(len(content)).encode() + b"\0"
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
