"""The files of a repository: folders with sizes and digests, and the content of small files."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.responses import Response

from registry.errors import CorruptBlobError, EntryNotFoundError
from registry.folders.card import CARD_NAME, text_of
from registry.history.repositories import Repository
from registry.history.trees import TreeFile
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.card import show_card
from registry.server.pages.render import page
from registry.server.pages.repository import DAMAGED, TOO_LARGE, about, to
from registry.server.protocol.files import PICTURES
from registry.storage.blobs import read_blob

PAGE = 300
"""Files and folders of a page."""

MOST_TEXT = 64 * 1024
"""Bytes of a file that is shown as text."""

MOST_PICTURE = 8 * 1024 * 1024
"""Bytes of a picture that is shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder in a list.

    Attributes:
        name: Its name.
        href: Its page.
        size: Its bytes, or those of all files in the folder.
        files: The number of files in a folder; None for a file.
        sha256: The digest of a file; None for a folder.
    """

    name: str
    href: str
    size: int
    files: int | None
    sha256: str | None


def tree(hub: Hub, ask: Asking) -> Response:
    """Show the content of a folder."""
    repository, revision = ask.repository, ask.params["revision"]
    folder = ask.params.get("path", "").strip("/")
    commit = hub.history.resolve(repository, revision)
    entries = _entries(repository, revision, folder, hub.history.folder(commit, folder))
    if folder and not entries:
        raise EntryNotFoundError(f"There is no folder {folder!r} at this revision.", folder)
    after = ask.value("after")
    rest = entries if after is None else [one for one in entries if one.name > after]
    shown, more = rest[:PAGE], rest[PAGE:]
    here = ("tree", revision, *_segments(folder))
    return page(
        ask,
        "tree.html",
        about=about(repository, "Files", revision),
        commit=commit,
        commit_page=to(repository, "commit", commit.oid),
        trail=_trail(repository, revision, folder),
        folder=folder,
        entries=shown,
        total=sum(one.size for one in entries),
        first=None if after is None else to(repository, *here),
        next=to(repository, *here, after=shown[-1].name) if more else None,
    )


def blob(hub: Hub, ask: Asking) -> Response:
    """Show a file: its content if it is a small text or a picture, else how to get it."""
    repository, revision = ask.repository, ask.params["revision"]
    commit = hub.history.resolve(repository, revision)
    file = hub.history.file(commit, ask.params["path"])
    segments = _segments(file.path)
    is_picture = file.path.lower().endswith(tuple(PICTURES)) and file.size <= MOST_PICTURE
    text, why = (None, None) if is_picture else _text(hub, repository, file)
    folder, card = segments[:-1], None
    if text is not None and file.path.lower().endswith(".md"):
        card = show_card(
            text_of(text),
            files=to(repository, "blob", revision, *folder),
            content=to(repository, "resolve", commit.oid, *folder),
        )
    return page(
        ask,
        "blob.html",
        about=about(repository, "Files", revision),
        trail=_trail(repository, revision, file.path),
        file=file,
        name=segments[-1],
        download=to(repository, "resolve", revision, *segments),
        picture=to(repository, "resolve", commit.oid, *segments) if is_picture else None,
        text=text,
        card=card,
        why=why,
        is_card=file.path == CARD_NAME,
    )


def _segments(path: str) -> list[str]:
    return path.split("/") if path else []


def _trail(repository: Repository, revision: str, path: str) -> list[tuple[str, str]]:
    """Return the folders above a file or a folder, the outermost first, each with its page."""
    segments = _segments(path)
    return [
        (segments[place - 1] if place else revision, to(repository, "tree", revision, *above))
        for place in range(len(segments))
        for above in [segments[:place]]
    ]


def _entries(
    repository: Repository, revision: str, folder: str, files: Iterable[tuple[str, int, str]]
) -> list[Entry]:
    """Return the content of a folder, by name.

    Args:
        repository: The repository.
        revision: The revision.
        folder: The path of the folder.
        files: Path, size and digest of each file in it or below it.
    """
    start = f"{folder}/" if folder else ""
    found: list[Entry] = []
    folders: dict[str, tuple[int, int]] = {}
    for path, size, sha256 in files:
        name, slash, _ = path[len(start) :].partition("/")
        if slash:
            count, total = folders.get(name, (0, 0))
            folders[name] = count + 1, total + size
        else:
            href = to(repository, "blob", revision, *_segments(path))
            found.append(Entry(name, href, size, None, sha256))
    for name, (count, total) in folders.items():
        href = to(repository, "tree", revision, *_segments(start + name))
        found.append(Entry(name, href, total, count, None))
    return sorted(found, key=lambda one: one.name)


def _text(hub: Hub, repository: Repository, file: TreeFile) -> tuple[str | None, str | None]:
    """Return the content of a file, or why it is not shown."""
    if file.size > MOST_TEXT:
        return None, TOO_LARGE
    label = f"{repository.full_name}: {file.path}"
    try:
        content = read_blob(hub.catalog.blobs, file.sha256, most=MOST_TEXT, label=label)
        text = content.decode()
    except CorruptBlobError:
        return None, DAMAGED
    except UnicodeDecodeError:
        return None, "It is not text."
    return (None, "It is not text.") if "\0" in text else (text, None)
