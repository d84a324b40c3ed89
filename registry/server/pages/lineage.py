"""What a version is made of and what uses it: as a drawing, and as lists."""

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
"""How far the lineage goes each way."""

MOST = 12
"""Adapters of each level that are shown; more are counted."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A relative in a list.

    Attributes:
        name: What it is called.
        href: Its page; None if it may not be seen, or is gone.
        kind: What it is; None if that is not known.
        method: How it changes its base model; None if that is not known.
        next_to: The names of those that it is a part of, or made of.
    """

    name: str
    href: str | None
    kind: str | None
    method: str | None
    next_to: tuple[str, ...]


def show(hub: Hub, ask: Asking) -> Response:
    """Show the lineage of a version: that of a revision that the query names, else the newest."""
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
    """Return how many are not shown, in words; nothing if all are."""
    if relatives is None or not relatives.more:
        return ""
    return f"and {'' if relatives.is_counted else 'at least '}{relatives.more:,} more"
