"""The commits of a repository: their versions, or why there is none, and their changes."""

from dataclasses import dataclass

from starlette.responses import Response

from registry.history.committing import PENDING
from registry.history.names import version_tag
from registry.history.repositories import Repository
from registry.history.trees import ChangedFile
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.render import page
from registry.server.pages.repository import about, to

PAGE = 30
"""Commits of a page."""

MOST_CHANGES = 300
"""Changed files that are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that a commit changed.

    Attributes:
        path: Its path.
        what: ``added``, ``changed`` or ``removed``.
        href: Its page; None if it was removed.
        before: Its size before; None if it is new.
        after: Its size after; None if it was removed.
    """

    path: str
    what: str
    href: str | None
    before: int | None
    after: int | None


def commits(hub: Hub, ask: Asking) -> Response:
    """Show the commits that lead to a revision, the newest first."""
    repository, revision = ask.repository, ask.params["revision"]
    after = ask.value("after")
    start = hub.history.resolve(repository, after or revision)
    found = hub.history.commits(start, PAGE + 1)
    shown, more = found[:PAGE], found[PAGE:]
    here = to(repository, "commits", revision)
    return page(
        ask,
        "commits.html",
        about=about(repository, "Commits", revision),
        commits=shown,
        pending=PENDING,
        to=lambda *segments, **query: to(repository, *segments, **query),
        tag_of=version_tag,
        first=here if after else None,
        next=to(repository, "commits", revision, after=more[0].oid) if more else None,
    )


def commit(hub: Hub, ask: Asking) -> Response:
    """Show a commit: its message, its changes, and its version."""
    repository, revision = ask.repository, ask.params["revision"]
    found = hub.history.resolve(repository, revision)
    before = None if found.parent is None else hub.history.resolve(repository, found.parent)
    differences = hub.history.differences(before, found, MOST_CHANGES + 1)
    return page(
        ask,
        "commit.html",
        about=about(repository, "Commits", revision),
        commit=found,
        is_pending=found.reason in PENDING,
        changes=[_change(repository, found.oid, one) for one in differences[:MOST_CHANGES]],
        more=len(differences) > MOST_CHANGES,
        to=lambda *segments, **query: to(repository, *segments, **query),
        tag_of=version_tag,
    )


def _change(repository: Repository, oid: str, one: ChangedFile) -> Change:
    what = "added" if one.before is None else "removed" if one.after is None else "changed"
    href = None if one.after is None else to(repository, "blob", oid, *one.path.split("/"))
    return Change(one.path, what, href, one.before, one.after)
