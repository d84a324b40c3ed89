"""A hub of hubkit's on loopback, as tests use it: people, repositories, and what it was asked.

`tests.support.serving` runs it. `tests.support.misbehaving` has one that does not do as it should.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.types import Receive, Scope, Send

from registry import AdapterRef, Catalog
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.history.changes import Change, Put, Remove
from registry.history.history import History
from registry.history.listing import Query
from registry.history.repositories import Repository
from registry.history.trees import TreeFile, is_large
from registry.places import Visibility
from registry.server.app import App
from registry.server.hub import Hub as Served
from registry.tables.reader import Reader
from tests.support.trees import info_of, stored

PEOPLE = ("ada", "bob", "eve")


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        by: Whose token it showed; None for none, or one that the hub does not know.
        method: Such as ``GET``.
        path: Without the query.
        headers: All that were sent, in lower case.
        body: What was sent along.
    """

    by: str | None
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)


class Hub:
    """A registry that is served.

    Attributes:
        url: Where.
        catalog: The registry.
        tokens: By name: that of each person writes, and ``ada reads`` does not.
        requests: What it was asked.
    """

    def __init__(self, catalog: Catalog, tokens: Mapping[str, str], url: str) -> None:
        self.url, self.catalog, self.tokens = url, catalog, tokens
        self.requests: list[Asked] = []
        self.served = Served(catalog)
        self._app = App(self.served)
        self._owners = {text: name.partition(" ")[0] for name, text in tokens.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note a request, and answer it."""
        headers = {name.decode().lower(): text.decode() for name, text in scope["headers"]}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        path = scope["raw_path"].decode().partition("?")[0]
        asked = Asked(self._owners.get(token), scope["method"], path, headers)
        self.requests.append(asked)

        async def read() -> Any:
            message = await receive()
            asked.body.extend(message.get("body", b""))
            return message

        await self.answer(asked, scope, read, send)

    async def answer(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)

    @property
    def history(self) -> History:
        return self.served.history

    def paths(self, method: str | None = None, part: str = "") -> list[str]:
        """The paths that were asked for, of a method or any, with some part."""
        return [
            asked.path
            for asked in self.requests
            if method in (None, asked.method) and part in asked.path
        ]

    @property
    def repos(self) -> dict[str, Repo]:
        """All that there are, the oldest first."""
        page, _ = self.history.page(Query(sort="created"), Reader(everything=True), limit=1000)
        found = sorted((one.repository for one in page), key=lambda one: one.id)
        return {one.full_name: Repo(self, one) for one in found}

    def create(
        self, name: str, files: Mapping[str, bytes] | None = None, *, private: bool = False
    ) -> Repo:
        """Make a repository, and push files into it."""
        visibility: Visibility = "private" if private else "public"
        ref, store = AdapterRef.parse(name), self.catalog.store
        account = Accounts(store).require(str(ref.owner))
        made = self.history.create(
            "model", ref, account_id=account.id, visibility=visibility, actor=account.name
        )
        repo = Repo(self, made)
        if files:
            repo.put(files)
        return repo


class Repo:
    """A repository of it."""

    def __init__(self, hub: Hub, repository: Repository) -> None:
        self._hub, self._row = hub, repository
        self._history = hub.history

    @property
    def private(self) -> bool:
        return self._history.get(self._row.id).visibility == "private"

    @property
    def branches(self) -> dict[str, str]:
        """Their commits, by name."""
        return {one.name: one.oid for one in self._history.branches(self._row)}

    @property
    def tags(self) -> dict[str, str]:
        """Their commits, by name."""
        return {one.name: one.oid for one in self._history.tags(self._row)}

    @property
    def changed_at(self) -> datetime:
        """When the main branch was."""
        return self._history.resolve(self._row, "main").created_at

    @property
    def commits(self) -> list[str]:
        """Those of the main branch, the newest first."""
        head = self._history.resolve(self._row, "main")
        return [one.oid for one in self._history.commits(head, 1000)]

    def large(self, revision: str = "main") -> set[str]:
        """The paths of files for which a pointer stands."""
        tree = self._history.tree(self._history.resolve(self._row, revision))
        return {file.path for file in tree.files if file.large}

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """What it holds: what was put there, and the ``.gitattributes`` that a hub begins with."""
        tree = self._history.tree(self._history.resolve(self._row, revision))
        blobs = self._hub.catalog.blobs
        found = {}
        for file in tree.files:
            with blobs.open(file.sha256, label=file.path) as stream:
                found[file.path] = stream.read()
        return found

    def put(
        self,
        files: Mapping[str, bytes],
        *,
        removed: Collection[str] = (),
        branch: str = "main",
        large: bool | None = None,
    ) -> str:
        """Make a commit as a push does, and return it.

        Args:
            files: What is put, by path.
            removed: The paths of what goes.
            branch: Where to; made if it is not there.
            large: Whether pointers stand for the files; default: as the hub asks for each.
        """
        row, history = self._row, self._history
        if branch not in self.branches:
            head = history.resolve(row, "main")
            history.create_branch(row, branch, head, row.ref.owner or "")
        stored(self._hub.catalog.blobs, files)
        changes: list[Change] = [Remove(path) for path in removed]
        for path, content in files.items():
            pointed = is_large(path, len(content)) if large is None else large
            entry = (
                TreeFile.pointed(path, info_of(content))
                if pointed
                else TreeFile.small(path, content)
            )
            changes.append(Put(entry))
        actor = row.ref.owner or ""
        committer = self._hub.served.committer
        return committer.commit(row, branch, changes, title="by hand", actor=actor).oid

    def tag(self, name: str, revision: str = "main") -> None:
        """Make a tag."""
        at = self._history.resolve(self._row, revision)
        self._history.create_tag(self._row, name, at, None, self._row.ref.owner or "")

    def move(self, name: str) -> None:
        """Give it another name."""
        row = self._history.get(self._row.id)
        ref = AdapterRef.parse(name)
        self._history.move(row, ref, account_id=row.account_id, actor=row.ref.owner or "")

    def delete(self) -> None:
        """Delete it, as its owner does."""
        self._history.delete(self._history.get(self._row.id), self._row.ref.owner or "")


def populate(catalog: Catalog) -> dict[str, str]:
    """Add people to a registry, and return their tokens by name."""
    accounts, tokens = Accounts(catalog.store), Tokens(catalog.store)
    for name in PEOPLE:
        accounts.add_user(name)
    return {
        **{name: tokens.create(name, "laptop", "write") for name in PEOPLE},
        "ada reads": tokens.create("ada", "reads", "read"),
    }
