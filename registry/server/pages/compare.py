"""Two versions side by side: equal and different facts."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from registry.accounts.access import Need
from registry.errors import RequestError, RevisionNotFoundError
from registry.history.names import MAIN, version_tag
from registry.manifest import Manifest
from registry.server.admitting import admit_repository, reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.render import number, page
from registry.server.pages.repository import RELATIVES, read_manifest, shown_version
from registry.server.pages.versions import facts
from registry.tables.versions import Version

MOST_ROWS = 200
"""Rows of a table; more are counted."""

LONGEST = 256
"""Most characters of the name of a side."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a comparison.

    Attributes:
        name: The name of the fact.
        left: The value on the left; None if there is none.
        right: The value on the right; None if there is none.
        verdict: Whether they are the same, in words.
    """

    name: str
    left: str | None
    right: str | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Part:
    """A table of a comparison.

    Attributes:
        title: Its title.
        rows: Its lines; different ones first.
        more: The number of lines that are left out.
    """

    title: str
    rows: tuple[Row, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Side:
    """One of two versions.

    Attributes:
        version: The version.
        href: Its page.
        facts: Its facts, by the title of the table, then by name.
    """

    version: Version
    href: str
    facts: Mapping[str, Mapping[str, str]]


def show(hub: Hub, ask: Asking) -> Response:
    """Show two versions from the query, each ``NAME@REVISION``; else ask for them."""
    names = ask.value("left"), ask.value("right")
    sides = [_side(hub, ask, name) for name in names if name] if all(names) else []
    return page(
        ask,
        "compare.html",
        names=names,
        sides=sides,
        parts=_parts(*sides) if sides else [],
    )


def _side(hub: Hub, ask: Asking, named: str) -> Side:
    """Return a version and its facts, if the reader may see it.

    Raises:
        RequestError: Its name is malformed.
        RepositoryNotFoundError: There is no such repository that the reader may see.
        RevisionNotFoundError: It has no such version.
    """
    name, _, revision = named.strip().partition("@")
    owner, slash, rest = name.partition("/")
    if not slash or "/" in rest or len(named) > LONGEST:
        raise RequestError("A version is named as OWNER/NAME or OWNER/NAME@REVISION.")
    repository = admit_repository(hub, ask, Need.READ, "model", owner, rest)
    if revision.isascii() and revision.isdigit():
        revision = f"v{revision}"
    else:
        numbers = dict(hub.history.aliases(repository))
        revision = version_tag(numbers[revision]) if revision in numbers else revision or MAIN
    commit = hub.history.resolve(repository, revision)
    version = shown_version(hub, repository, commit, revision)
    if version is None:
        raise RevisionNotFoundError(
            f"{repository.full_name} has no version at {revision!r}: there is nothing to compare.",
            revision,
        )
    relatives = hub.history.relatives(version, reader_of(ask.caller), levels=1, most=RELATIVES)
    manifest = read_manifest(hub, version)
    known = {
        fact.name: ", ".join(value.text for value in fact.values)
        for fact in facts.facts_of_version(version, manifest, relatives)
        if fact.name not in ("Settings", "Labels")
    }
    compared = {"Facts": known, **_parts_of(manifest), "Metrics": _metrics(version)}
    if manifest is not None:
        compared["Files"] = {path: info.sha256 for path, info in manifest.files.items()}
    return Side(version, facts.page_of(version), compared)


def _parts_of(manifest: Manifest | None) -> dict[str, dict[str, str]]:
    if manifest is None:
        return {}
    training = manifest.training
    return {
        "Settings of the method": facts.settings(manifest.method.parameters),
        "Settings of the training": facts.settings(training.arguments) if training else {},
        "Labels": {str(place): label for place, label in enumerate(manifest.labels)},
    }


def _metrics(version: Version) -> dict[str, str]:
    return {
        f"{one.name} ({one.dataset}, {one.split})": number(one.value) for one in version.metrics
    }


def _parts(left: Side, right: Side) -> list[Part]:
    found = []
    for title in dict.fromkeys([*left.facts, *right.facts]):
        one, other = left.facts.get(title, {}), right.facts.get(title, {})
        rows = [
            _row(name, one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])
        ]
        rows.sort(key=lambda row: row.verdict == "the same")
        if rows:
            found.append(Part(title, tuple(rows[:MOST_ROWS]), len(rows[MOST_ROWS:])))
    return found


def _row(name: str, left: str | None, right: str | None) -> Row:
    if left is None or right is None:
        verdict = "only left" if right is None else "only right"
    else:
        verdict = "the same" if left == right else "differs"
    return Row(name, left, right, verdict)
