"""Write the rows of a repository's history again, from the log."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection, delete, insert, select, update

from registry.errors import NotFoundError
from registry.history.commits import reachable
from registry.history.from_log.replay import HISTORY, replay_change
from registry.history.from_log.trails import subject
from registry.history.names import version_tag
from registry.history.repositories import Repository, load_repository
from registry.history.versions import commit_version, list_again, message_of, prepare_commit
from registry.log.entry import Entry
from registry.places import Kind, Visibility, folded_name, parse_place, place_of
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.edit import remove_history
from registry.tables.models import BRANCHES, COMMIT_TAGS, FORMER_NAMES, REPOSITORIES, REVISIONS
from registry.tables.record import Publication, find_account_id


@dataclass(slots=True)
class State:
    """The commits, branches and tags of a repository, by ids of git.

    Attributes:
        commits: By id: digest of the list of files, parent, digest of the version's manifest,
            author, message, time, and the reason why there is no version.
        branches: The commit of each.
        tags: The commit, message and time of each.
    """

    commits: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, tuple[str, str | None, datetime]] = field(default_factory=dict)
    _versions: dict[int, str] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Apply an entry; see `registry.history.from_log.replay.replay_change`.

        Raises:
            KeyError, TypeError, ValueError: A detail is missing or malformed.
        """
        details: dict[str, Any] = dict(entry.details)
        match entry.action:
            case "branch" if details["commit"] in self.commits:
                self.branches.setdefault(details["branch"], details["commit"])
            case "unbranch":
                self.branches.pop(details["branch"], None)
            case "tag" if details["commit"] in self.commits:
                at = datetime.fromisoformat(details["created_at"])
                said = (details["commit"], details.get("message"), at)
                self.tags.setdefault(details["tag"], said)
            case "untag":
                self.tags.pop(details["tag"], None)
            case "create" | "commit" | "squash" | "publish":
                self._commit(entry, details)

    def _commit(self, entry: Entry, details: dict[str, Any]) -> None:
        oid, number, message = details["commit"], details.get("number"), details["message"]
        at = datetime.fromisoformat(details["created_at"])
        if entry.action == "publish":
            message = message_of(message, details["number"])
            self._versions[details["number"]] = details["digest"]
            self.tags.setdefault(version_tag(details["number"]), (oid, None, at))
        version = None if number is None else self._versions.get(number)
        parent = details.get("parent")
        said = (details["author"], message, at.replace(microsecond=0))
        before = self.commits.get(oid)
        if before is None or before[2] is None:  # or it got its version later
            known = parent if parent in self.commits else None
            self.commits[oid] = (details["tree"], known, version, *said, details.get("reason"))
        if "branch" in details:
            self.branches[details["branch"]] = oid
        if entry.action == "squash":
            self._forget_unreachable()

    def _forget_unreachable(self) -> None:
        named = [*self.branches.values(), *(one[0] for one in self.tags.values())]
        reached = reachable(named, {oid: one[1] for oid, one in self.commits.items()})
        self.commits = {oid: one for oid, one in self.commits.items() if oid in reached}


@dataclass(slots=True)
class LoggedHistory:
    """What the log says of a repository.

    Attributes:
        kind: Its kind.
        ref: Its current name.
        visibility: Whether everybody may read it; private if the log does not say.
        created_at: When it was made; None for an adapter that was published without a hub.
        deleted_at: When it was deleted; None if it was not.
        entries: The entries about its history since it was last made.
        account: The account of the remains of a deleted adapter.
    """

    kind: Kind
    ref: AdapterRef
    visibility: Visibility = "private"
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    entries: list[Entry] = field(default_factory=list)
    account: str | None = None

    @property
    def owner(self) -> str | None:
        """The name of the account that it belongs to, if there is one of that name."""
        return self.account if self.ref.is_nameless else self.ref.owner

    @property
    def folded(self) -> str:
        """Its key, as in `folded_name`."""
        return folded_name(self.kind, self.ref)

    @property
    def place(self) -> str:
        """Its name below the address of a hub."""
        return place_of(self.kind, self.ref)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self | None:
        """Apply all entries about a repository, under each of its names; None if there are none.

        Raises:
            InvalidNameError: An entry has a name that no repository can have.
            KeyError, TypeError, ValueError: A detail of an entry is missing or malformed.
        """
        logged = None
        for entry in entries:
            about = subject(entry)
            if about is not None:
                logged = cls(*about) if logged is None else logged
                logged._add(entry, about[1])
        return logged

    def state(self) -> State | None:
        """Return its commits, branches and tags; None if the log alone does not say.

        Raises:
            KeyError, TypeError, ValueError: A detail of an entry is missing or malformed.
        """
        state = State()
        for entry in self.entries:
            if entry.action == "publish" and not _is_committed(entry):
                return None
            state.add(entry)
        return state

    def named(self) -> dict[tuple[str, str, str], str]:
        """Return the digest of the file list of each branch and tag.

        The keys are the table, the name, and the id of the commit.
        """
        trees: dict[str, str] = {}
        names: dict[tuple[str, str], str] = {}
        for entry in self.entries:
            details: dict[str, Any] = dict(entry.details)
            match entry.action:
                case "branch" | "tag":
                    table = BRANCHES if entry.action == "branch" else COMMIT_TAGS
                    names[table.name, details[entry.action]] = details["commit"]
                case "unbranch":
                    names.pop((BRANCHES.name, details["branch"]), None)
                case "untag":
                    names.pop((COMMIT_TAGS.name, details["tag"]), None)
                case _ if "tree" in details:
                    trees[details["commit"]] = details["tree"]
                    if "branch" in details:
                        names[BRANCHES.name, details["branch"]] = details["commit"]
        return {(*name, oid): trees[oid] for name, oid in names.items() if oid in trees}

    def _add(self, entry: Entry, ref: AdapterRef) -> None:
        details: dict[str, Any] = dict(entry.details)
        match entry.action:
            case "create":
                self.ref, self.visibility = ref, details["visibility"]
                self.created_at = datetime.fromisoformat(details["created_at"])
                self.deleted_at = None
                self.entries.append(entry)
            case "settings":
                self.visibility = details["visibility"]
            case "move":
                self.kind, self.ref = parse_place(details["to"])
            case "delete":
                self.deleted_at = datetime.fromisoformat(details["deleted_at"])
                self.entries.clear()
                if self.ref.is_nameless:
                    self.account, self.visibility = None, "private"
            case "publish":
                if self.ref.is_nameless:
                    self.account, self.deleted_at = details.get("account"), None
                    self.visibility = details.get("visibility", "private")
                self.entries.append(entry)
            case action if action in HISTORY:
                self.entries.append(entry)


def remake(
    store: Store, connection: Connection, logged: LoggedHistory, former: frozenset[str]
) -> None:
    """Write the history of a repository as the log has it; its versions stay as they are.

    Args:
        store: Where the lists of files are.
        connection: A write transaction, which is to be rolled back after an error.
        logged: What the log says.
        former: The former names of the repository, as in `folded_name`.

    Raises:
        CorruptBlobError: Bytes that this needs are missing or altered.
        HubkitError: The log contradicts itself.
        KeyError, TypeError, ValueError: A detail of an entry is missing or malformed.
    """
    id = _write_row(connection, logged)
    if id is None:
        return  # an adapter without a row comes back with its versions
    connection.execute(delete(FORMER_NAMES).where(FORMER_NAMES.c.repository_id == id))
    if former:
        rows = [{"folded": name, "repository_id": id} for name in sorted(former)]
        connection.execute(delete(FORMER_NAMES).where(FORMER_NAMES.c.folded.in_(former)))
        connection.execute(insert(FORMER_NAMES), rows)
    remove_history(connection, id)
    if logged.deleted_at is not None:
        return
    repository = load_repository(connection, id)
    committed = {str(entry.details["digest"]) for entry in logged.entries if _is_committed(entry)}
    _commit_earlier(store, connection, repository, committed)
    for entry in logged.entries:
        revision = None
        if entry.action == "publish":
            if not _is_committed(entry):
                continue
            revision = _find(connection, id, str(entry.details["digest"]))
        # As in a rebuild, skip an entry about something lost, such as the commit of a branch.
        with suppress(NotFoundError), connection.begin_nested():
            replay_change(store, connection, repository, entry, revision_id=revision)
    list_again(store, connection, repository, strict=True)


def _is_committed(entry: Entry) -> bool:
    """Whether an entry published a version with a commit; older entries did not."""
    return entry.action == "publish" and "tree" in entry.details


def _write_row(connection: Connection, logged: LoggedHistory) -> int | None:
    """Write the row of a repository as the log has it, and return its id."""
    facts: dict[str, Any] = {
        "kind": logged.kind,
        "visibility": logged.visibility,
        "account_id": find_account_id(connection, logged.owner),
    }
    if logged.kind != "model":  # the row of an adapter is written with its versions
        facts |= {
            "owner": logged.ref.owner,
            "name": logged.ref.name,
            "created_at": logged.created_at,
            "deleted_at": logged.deleted_at,
        }
    of_repository = REPOSITORIES.c.folded == logged.folded
    id: int | None = connection.scalar(select(REPOSITORIES.c.id).where(of_repository))
    if id is not None:
        connection.execute(update(REPOSITORIES).where(of_repository).values(facts))
    elif logged.kind != "model":
        new = {"folded": logged.folded, "next_number": 1, **facts}
        id = connection.scalar(insert(REPOSITORIES).returning(REPOSITORIES.c.id), new)
    return id


def _commit_earlier(
    store: Store, connection: Connection, repository: Repository, committed: set[str]
) -> None:
    """Make the commits of the versions that were published before commits existed."""
    of_repository = (REVISIONS.c.repository_id == repository.id, REVISIONS.c.number.is_not(None))
    rows = connection.execute(select(REVISIONS).where(*of_repository).order_by(REVISIONS.c.id))
    for row in [row for row in rows if row.manifest_digest not in committed]:
        named = repository.ref.at(row.number)
        manifest = store.manifest(named, row.manifest_digest)
        tree, facts = prepare_commit(store, named, manifest)
        publication = Publication(author=row.author, message=row.message, created_at=row.created_at)
        commit_version(connection, row.id, publication, tree, facts)


def _find(connection: Connection, repository_id: int, digest: str) -> int | None:
    found: int | None = connection.scalar(
        select(REVISIONS.c.id).where(
            REVISIONS.c.repository_id == repository_id,
            REVISIONS.c.manifest_digest == digest,
            REVISIONS.c.number.is_not(None),
        )
    )
    return found
