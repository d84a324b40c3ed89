"""What a commit changes in the tree before it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from registry.errors import EntryNotFoundError
from registry.history.trees import Tree, TreeFile


@dataclass(frozen=True, slots=True)
class Put:
    """A file that is new, or gets other bytes.

    Attributes:
        file: What it is.
    """

    file: TreeFile


@dataclass(frozen=True, slots=True)
class Remove:
    """A file that goes.

    Attributes:
        path: Where it was.
    """

    path: str


@dataclass(frozen=True, slots=True)
class RemoveFolder:
    """A folder that goes, with all that is in it.

    Attributes:
        path: Where it was, without a slash at the end; empty for everything.
    """

    path: str


Change: TypeAlias = Put | Remove | RemoveFolder


def apply(tree: Tree, changes: Iterable[Change], named: str) -> Tree:
    """Return the tree after some changes: first all that go, then all that come.

    Args:
        tree: The tree before.
        changes: In any order.
        named: The repository, for messages.

    Raises:
        EntryNotFoundError: What should go is not there.
        InvalidNameError: As `Tree`.
    """
    files = {file.path: file for file in tree.files}
    puts: dict[str, TreeFile] = {}
    gone: set[str] = set()
    for change in changes:
        match change:
            case Put(file):
                puts[file.path] = file
            case Remove(path):
                if path not in files:
                    raise _missing(named, "file", path)
                gone.add(path)
            case RemoveFolder(path):
                inside = {one for one in files if not path or one.startswith(f"{path}/")}
                if not inside and path:
                    raise _missing(named, "folder", path)
                gone |= inside
    kept = {path: file for path, file in files.items() if path not in gone}
    return Tree.of({**kept, **puts}.values())


def _missing(named: str, what: str, path: str) -> EntryNotFoundError:
    # Clients look for the first sentence.
    return EntryNotFoundError(
        f"A {what} with this name doesn't exist: {named} has no {what} {path!r}.", path, given=path
    )
