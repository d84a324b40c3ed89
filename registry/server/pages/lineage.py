"""The parents and users of a version: as a drawing, and as lists."""

from dataclasses import dataclass

from starlette.responses import Response

from registry.history.names import MAIN
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.render import page
from registry.server.pages.repository import about, shown_version
from registry.server.pages.versions.drawing import draw
from registry.server.pages.versions.facts import name_of, page_of
from registry.tables.lineage import Relatives
from registry.tables.versions import Version

LEVELS = 3
"""Levels of the lineage each way."""

MOST = 12
"""Adapters of each level that are shown; more are counted."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A relative in a list.

    Attributes:
        name: Its name.
        href: Its page; None if it is hidden or deleted.
        kind: Its kind; None if it is not known.
        method: Its method; None if it is not known.
        next_to: The names of its users, or of its parents.
    """

    name: str
    href: str | None
    kind: str | None
    method: str | None
    next_to: tuple[str, ...]


def show(hub: Hub, ask: Asking) -> Response:
    """Show the lineage of the version at the revision in the query, else of the newest."""
    repository, revision = ask.repository, ask.value("revision") or MAIN
    version = None
    if repository.kind == "model":
        commit = hub.history.resolve(repository, revision)
        version = shown_version(hub, repository, commit, revision)
    parents = users = None
    if version is not None:
        reader = reader_of(ask.caller)
        parents, users = hub.history.relatives(version, reader, levels=LEVELS, most=MOST)
    return page(
        ask,
        "lineage.html",
        about=about(repository, "Lineage", revision),
        version=version,
        drawing=draw(version, parents, users) if version and parents and users else None,
        parents=_list(version, parents),
        users=_list(version, users),
        more_parents=_more(parents),
        more_users=_more(users),
    )


def _list(version: Version | None, relatives: Relatives | None) -> list[Listed]:
    if version is None or relatives is None:
        return []
    members = {version.manifest_digest: version, **relatives.members}
    found = []
    for digest, member in relatives.members.items():
        nearer = [members[start] for start, to in relatives.links if to == digest]
        found.append(
            Listed(
                name=name_of(member),
                href=None if member is None else page_of(member),
                kind=None if member is None else member.kind,
                method=None if member is None else member.method,
                next_to=tuple(name_of(one) for one in nearer),
            )
        )
    return found


def _more(relatives: Relatives | None) -> str:
    """Return how many are not shown, in words; an empty text if all are."""
    if relatives is None or not relatives.more:
        return ""
    return f"and {'' if relatives.is_counted else 'at least '}{relatives.more:,} more"
