"""What a hub says, as types: nothing of it reaches the disk, a request or a screen unchecked.

A hub may be anyone's. What does not fit its type is refused, whatever it was meant to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from registry.errors import InvalidNameError, RemoteAnswerError
from registry.fields import Several, Word
from registry.refs import MAX_NUMBER
from registry.storage.files import MANIFEST_NAME, Digest, parse_path

T = TypeVar("T")

GitHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$", max_length=40)]
"""The SHA-1 of a commit, or of a file as git hashes it, in 40 lower-case digits."""

RepositoryName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=256
    ),
]
"""``owner/name``; what is old has no owner on the Hugging Face Hub."""

Size = Annotated[int, Field(ge=0, lt=2**53)]
"""Bytes."""

Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
"""That of a version."""

_MOST_WORDS = 2000


class Answer(BaseModel):
    """The base of all answers; fields that they do not name are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)


class Account(Answer):
    """The user of a token."""

    name: Word


class Sibling(Answer):
    """A file of a repository."""

    rfilename: Annotated[str, StringConstraints(max_length=4096)]


class HeldVersion(Answer):
    """The version that a commit holds, as a hub of hubkit's says.

    Attributes:
        number: Its number.
        manifest: The SHA-256 of its manifest.
    """

    number: Number
    manifest: Digest


class Versions(Answer):
    """What a hub of hubkit's says of the versions of a repository.

    Attributes:
        newest: The number of the newest one that is not yanked; None if there is none.
        version: The one that the commit holds; None if it holds none.
    """

    newest: Number | None = None
    version: HeldVersion | None = None


class Description(Answer):
    """A repository at a revision."""

    id: RepositoryName
    sha: GitHash
    private: bool = False
    siblings: Several[Sibling] = ()
    hubkit: Versions = Versions()

    def lists(self, path: str) -> bool:
        """Whether the commit has a file."""
        return any(sibling.rfilename == path for sibling in self.siblings)


class Ref(Answer):
    """A branch or a tag, and the commit that it points to."""

    name: Word
    commit: GitHash = Field(alias="targetCommit")


class Refs(Answer):
    """The branches and tags of a repository."""

    branches: Several[Ref]
    tags: Several[Ref]


class LargeFile(Answer):
    """The digest and size of a file that is stored beside the repository."""

    oid: Digest
    size: Size


class FileEntry(Answer):
    """A file in a listing."""

    type: Literal["file"]
    path: Annotated[str, StringConstraints(max_length=4096)]
    size: Size
    oid: GitHash
    lfs: LargeFile | None = None


class FolderEntry(Answer):
    """A folder in a listing."""

    type: Literal["directory"]


Entry = Annotated[FileEntry | FolderEntry, Field(discriminator="type")]
LISTING: TypeAdapter[tuple[Entry, ...]] = TypeAdapter(Several[Entry])


class Listed(Answer):
    """A repository that a search found."""

    id: RepositoryName
    tags: Annotated[Several[Word], Field(max_length=_MOST_WORDS)] = ()
    task_type: Word | None = Field(default=None, alias="pipeline_tag")
    library: Word | None = Field(default=None, alias="library_name")
    downloads: Size = 0
    likes: Size = 0
    updated_at: datetime | None = Field(default=None, alias="lastModified")


FOUND: TypeAdapter[tuple[Listed, ...]] = TypeAdapter(Several[Listed])


class Accepted(Answer):
    """The way in which a hub takes a file."""

    path: str
    mode: Literal["regular", "lfs"] = Field(alias="uploadMode")
    ignored: bool = Field(default=False, alias="shouldIgnore")


class AllAccepted(Answer):
    """The ways in which a hub takes some files."""

    files: Several[Accepted]


class Link(Answer):
    """Where a request about a large file goes.

    What is in `header` is not sent: only its ``chunk_size`` is looked at, which asks for parts.
    """

    href: Annotated[str, StringConstraints(max_length=16384)]
    header: dict[str, object] = {}


class Actions(Answer):
    """The requests that upload a large file."""

    upload: Link | None = None
    verify: Link | None = None


class Refusal(Answer):
    """Why a hub does not take a large file."""

    message: str = ""


class Transfer(Answer):
    """The upload of a large file; without actions, the hub has it."""

    oid: Digest
    size: Size
    actions: Actions | None = None
    error: Refusal | None = None


class Transfers(Answer):
    """The uploads of large files."""

    transfer: Literal["basic"] = "basic"
    objects: Several[Transfer]


class CommitMade(Answer):
    """A commit that was made."""

    commit: GitHash = Field(alias="commitOid")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository, as its listing announces it.

    Attributes:
        path: Where it is there, a relative path that stays in its folder.
        size: Its bytes.
        digest: Their SHA-256 in 64 digits, or in 40 digits the SHA-1 that git gives them.
        version: The number of the version that it is a file of, where the hub keeps these beside
            the commit; None for a file of the commit.
    """

    path: str
    size: int
    digest: str
    version: int | None = None

    def __post_init__(self) -> None:
        """Refuse a malformed digest, and a path that leads elsewhere.

        Raises:
            InvalidNameError: One of them is not what it must be.
        """
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.digest):
            raise InvalidNameError(
                f"{self.path!a} has no digest: expected 40 or 64 lower-case hexadecimal digits, "
                f"found {self.digest[:80]!a}.",
                self.digest,
            )
        if self.path != MANIFEST_NAME:
            parse_path(self.path)


def parse_answer(kind: TypeAdapter[T] | type[T], content: bytes, what: str) -> T:
    """Return what an answer says.

    Args:
        kind: The type that it must have.
        content: JSON.
        what: Who said it, for messages.

    Raises:
        RemoteAnswerError: It is not JSON, or has another type.
    """
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"][:4]))
        raise RemoteAnswerError(
            f"{what} does not answer as a hub: {f'{place}: ' if place else ''}"
            f"{said(first['msg'])}. Check the address.",
            what,
        ) from error


def said(text: str) -> str:
    """Return a text from outside as a part of a sentence: one line, printable and short."""
    lines = text.strip().splitlines()
    line = " ".join((lines[0] if lines else "")[:1000].split())
    line = "".join(c if c.isprintable() else "?" for c in line).rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]}..."
