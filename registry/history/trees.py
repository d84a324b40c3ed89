"""Trees: the files of a commit. Commits with the same files share one.

The list of files is written to a blob, too, from which the rows can be made again.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy import Connection, Row, and_, bindparam, insert, or_, select

from registry.errors import DamagedBlobError, InvalidNameError, reason_of
from registry.history.git import blob_id, pointer, tree_id
from registry.history.names import check_tree_path
from registry.log.entry import canonical
from registry.storage.blobs import BlobStore, read_blob
from registry.storage.files import FileInfo
from registry.tables.column_types import MAX_SIZE
from registry.tables.models import TREE_FILES, TREES

MOST_FILES = 50_000
"""Files of a commit at most."""

MAX_BYTES = 64 * 1024 * 1024
"""The largest list of files that is read, several times the longest one."""

SMALL_BYTES = 1024 * 1024
"""The largest file that is in a tree itself; for a larger one, the tree has a pointer."""

# Weights and other binary files, which git handles badly.
LARGE_ENDINGS = (
    *(".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gguf", ".gz", ".h5", ".joblib", ".model"),
    *(".mlmodel", ".msgpack", ".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle", ".pkl"),
    *(".pt", ".pth", ".rar", ".safetensors", ".tar", ".tflite", ".tgz", ".xz", ".zip", ".zst"),
)

# Built once, as in `registry.tables.record`.
_ADD_TREE = insert(TREES).returning(TREES.c.id)
_ADD_FILES = insert(TREE_FILES)
_FILE = select(TREE_FILES).where(
    TREE_FILES.c.tree_id == bindparam("of_tree"), TREE_FILES.c.path == bindparam("at")
)


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a commit.

    Attributes:
        path: Its path.
        sha256: The digest of its bytes.
        size: Its bytes.
        oid: Its id in git: that of its content, or of the pointer if it is large.
        large: Whether the tree has a pointer to it.
    """

    path: str
    sha256: str
    size: int
    oid: str
    large: bool

    @property
    def info(self) -> FileInfo:
        """The digest and the size of its bytes."""
        return FileInfo(sha256=self.sha256, size=self.size)

    @classmethod
    def small(cls, path: str, content: bytes) -> Self:
        """Return the entry of a file that is in the tree itself."""
        info = FileInfo.of(content)
        return cls(path, info.sha256, info.size, blob_id(content), False)

    @classmethod
    def pointed(cls, path: str, info: FileInfo) -> Self:
        """Return the entry of a file to which the tree has a pointer."""
        return cls(path, info.sha256, info.size, blob_id(pointer(info)), True)


def is_large(path: str, size: int) -> bool:
    """Whether a tree should have a pointer to a file; never to an empty one."""
    return size > 0 and (size > SMALL_BYTES or path.lower().endswith(LARGE_ENDINGS))


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a commit, sorted by path.

    Raises:
        InvalidNameError: git refuses a path, two paths cannot lie in one folder, or there are too
            many files.
    """

    files: tuple[TreeFile, ...]

    def __post_init__(self) -> None:
        """Refuse paths that no checkout could hold."""
        if len(self.files) > MOST_FILES:
            raise InvalidNameError(
                f"A commit has {len(self.files)} files, more than {MOST_FILES}.", len(self.files)
            )
        for file in self.files:
            check_tree_path(file.path)
        paths = [file.path for file in self.files]
        folders = _folders(paths)
        both = sorted(folders.intersection(paths))
        if both:
            raise InvalidNameError(f"{both[0]!r} would be both a file and a folder.", both[0])
        if self.size > MAX_SIZE:
            raise InvalidNameError(f"The files of a commit have {self.size} bytes.", self.size)

    @classmethod
    def of(cls, files: Iterable[TreeFile]) -> Self:
        """Return the tree of some files, in any order."""
        return cls(tuple(sorted(files, key=lambda file: file.path)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def oid(self) -> str:
        """Its id in git."""
        return tree_id((file.path, file.oid) for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the canonical bytes of the list of files."""
        return canonical({"hubkit_tree": 1, "files": [asdict(file) for file in self.files]})

    @classmethod
    def read(cls, blobs: BlobStore, digest: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            CorruptBlobError: It is missing, altered, or not a list of files.
        """
        label = f"tree {digest[:12]}"
        content = read_blob(blobs, digest, most=MAX_BYTES, label=label)
        try:
            return cls(tuple(TreeFile(**file) for file in json.loads(content)["files"]))
        except (InvalidNameError, KeyError, TypeError, ValueError) as error:
            raise DamagedBlobError(
                f"{label} is not a list of files: {reason_of(error)}.", label
            ) from error


def _folders(paths: Iterable[str]) -> set[str]:
    """Return all folders that some paths are in.

    Raises:
        InvalidNameError: There are so many that they could fill the memory.
    """
    folders: set[str] = set()
    for path in paths:
        end = path.rfind("/")
        while end > 0 and path[:end] not in folders:
            folders.add(path[:end])
            end = path.rfind("/", 0, end)
        if len(folders) > MOST_FILES:
            raise InvalidNameError(
                f"The files of a commit are in more than {MOST_FILES} folders.", path
            )
    return folders


def add_tree(connection: Connection, tree: Tree) -> int:
    """Return the id of a tree's row; make the row if there is none."""
    digest = tree.digest
    found = connection.scalar(select(TREES.c.id).where(TREES.c.digest == digest))
    if found is not None:
        return int(found)
    made = connection.scalar(
        _ADD_TREE,
        {"digest": digest, "oid": tree.oid, "files": len(tree.files), "size": tree.size},
    )
    assert made is not None
    if tree.files:
        connection.execute(_ADD_FILES, tree_rows(made, tree))
    return int(made)


def tree_rows(id: int, tree: Tree) -> list[dict[str, object]]:
    """Return the rows that the files of a tree have."""
    return [{"tree_id": id, **asdict(file)} for file in tree.files]


def load_tree(connection: Connection, id: int) -> Tree:
    """Return the tree of a row, which must exist."""
    rows = connection.execute(
        select(TREE_FILES).where(TREE_FILES.c.tree_id == id).order_by(TREE_FILES.c.path)
    )
    return Tree.of(map(_file_of, rows))


def find_file(connection: Connection, id: int, path: str) -> TreeFile | None:
    """Return a file of a tree; None if there is none of that path."""
    row = connection.execute(_FILE, {"of_tree": id, "at": path}).first()
    return None if row is None else _file_of(row)


def load_folder(connection: Connection, id: int, folder: str) -> list[tuple[str, int, str]]:
    """Return the path, size and digest of each file of a tree that is in a folder, or below it.

    It is quicker than `load_tree`, which checks every path.

    Args:
        connection: A transaction.
        id: The row of the tree.
        folder: The folder; an empty one is all of the tree.
    """
    wanted = select(TREE_FILES.c.path, TREE_FILES.c.size, TREE_FILES.c.sha256).where(
        TREE_FILES.c.tree_id == id
    )
    start = f"{folder}/" if folder else ""
    if folder:
        wanted = wanted.where(TREE_FILES.c.path.startswith(start, autoescape=True))
    # SQLite ignores case there.
    return [(*row,) for row in connection.execute(wanted) if row.path.startswith(start)]


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs between two trees.

    Attributes:
        path: Its path.
        before: Its size in the first; None if it is not there.
        after: Its size in the second; None if it is not there.
    """

    path: str
    before: int | None
    after: int | None


def find_differences(
    connection: Connection, first: int | None, second: int, limit: int
) -> list[ChangedFile]:
    """Return the files that differ between two trees, by path.

    Args:
        connection: A transaction.
        first: The row of one tree; None for one without files.
        second: The row of the other.
        limit: The most differences to return.
    """
    one, other = TREE_FILES.alias(), TREE_FILES.alias()
    same_path = one.c.path == other.c.path
    new = (
        select(other.c.path, one.c.size.label("before"), other.c.size.label("after"))
        .outerjoin(one, and_(one.c.tree_id == first, same_path))
        .where(other.c.tree_id == second, or_(one.c.oid.is_(None), one.c.oid != other.c.oid))
        .order_by(other.c.path)
        .limit(limit)
    )
    gone = (
        select(one.c.path, one.c.size.label("before"), other.c.size.label("after"))
        .outerjoin(other, and_(other.c.tree_id == second, same_path))
        .where(one.c.tree_id == first, other.c.oid.is_(None))
        .order_by(one.c.path)
        .limit(limit)
    )
    rows = [row for statement in (new, gone) for row in connection.execute(statement)]
    return sorted((ChangedFile(*row) for row in rows), key=lambda found: found.path)[:limit]


def has_ending(connection: Connection, id: int, endings: Collection[str]) -> bool:
    """Whether the path of any file of a tree ends in one of some endings."""
    ends = or_(*(TREE_FILES.c.path.endswith(one, autoescape=True) for one in endings))
    found = select(TREE_FILES.c.path).where(TREE_FILES.c.tree_id == id, ends).limit(1)
    return connection.scalar(found) is not None


def find_files(connection: Connection, id: int, paths: Collection[str]) -> dict[str, TreeFile]:
    """Return the files of a tree at some paths, by path."""
    rows = connection.execute(
        select(TREE_FILES).where(TREE_FILES.c.tree_id == id, TREE_FILES.c.path.in_(paths))
    )
    return {row.path: _file_of(row) for row in rows}


def _file_of(row: Row[Any]) -> TreeFile:
    return TreeFile(row.path, row.sha256, row.size, row.oid, bool(row.large))
