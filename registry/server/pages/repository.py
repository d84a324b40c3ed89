"""The page of a repository: its card, the facts of its version, and how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from registry.errors import CorruptBlobError, ManifestError
from registry.folders.card import CARD_NAME, text_of
from registry.folders.claims import Claim, claims_of
from registry.history.commits import Commit
from registry.history.committing import PENDING
from registry.history.names import MAIN, version_tag
from registry.history.repositories import Repository
from registry.history.trees import SMALL_BYTES, TreeFile
from registry.manifest import Manifest
from registry.server.admitting import reader_of
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.pages.card import Shown, show_card
from registry.server.pages.render import link, page
from registry.server.pages.versions import facts, using
from registry.server.pages.versions.attention import (
    ATTENTION_NAME,
    MOST_BYTES,
    HeatMap,
    heat_map,
)
from registry.storage.blobs import read_blob
from registry.tables.column_types import MAX_ID
from registry.tables.lineage import Relatives
from registry.tables.measurements import Measurement
from registry.tables.versions import Version

DAMAGED = "Its bytes are damaged. Tell the administrator of this hub, or push it again."
"""The text in place of a file whose stored bytes are damaged."""

TOO_LARGE = "It is too large to be shown here."
"""The text in place of a file that is too large."""

VERSIONS = 20
"""Versions of a page."""

NAMES = 50
"""Branches and tags that are shown; more are counted."""

METRICS = 100
"""Metrics of each kind that are shown; more are counted."""

DESCRIPTION = 2000
"""Characters of a description that are shown."""

RELATIVES = 24
"""Most parents or users of a version among its facts; its lineage has more."""

PICTURES = {
    "training.png": "Curves of the loss and of the validation metrics over the epochs",
    "confusion.png": "Which label is taken for which, in the validation rows",
    "scatter.png": "Predicted and expected numbers of the validation rows",
}
"""Pictures that hubkit publishes with a trained adapter, and their descriptions."""

REPORT = "report.md"
"""hubkit's report of a training."""


@dataclass(frozen=True, slots=True)
class About:
    """The head of each page of a repository.

    Attributes:
        name: ``owner/name``.
        owner: The page of its owner; None for the remains of a deleted adapter.
        href: Its own page.
        kind: Its kind.
        private: Whether it is private.
        revision: The revision on the page.
        tabs: Its pages: name, path, and whether it is this one.
    """

    name: str
    owner: str | None
    href: str
    kind: str
    private: bool
    revision: str
    tabs: tuple[tuple[str, str, bool], ...]


def about(repository: Repository, tab: str, revision: str) -> About:
    """Return the head of a page of a repository.

    Args:
        repository: The repository.
        tab: The name of the page among the others.
        revision: The revision on the page.
    """
    of_state = None if revision == MAIN else revision
    tabs = [
        ("Card", to(repository, revision=of_state)),
        ("Files", to(repository, "tree", revision)),
        ("Commits", to(repository, "commits", revision)),
    ]
    if repository.kind == "model":
        tabs.append(("Lineage", to(repository, "lineage", revision=of_state)))
    return About(
        name=repository.full_name,
        owner=None if repository.ref.is_nameless else link(str(repository.ref.owner)),
        href=to(repository),
        kind=repository.kind,
        private=repository.visibility == "private",
        revision=revision,
        tabs=tuple((name, href, name == tab) for name, href in tabs),
    )


def to(repository: Repository, *segments: str, **query: str | None) -> str:
    """Return the path of a page of a repository."""
    return link(*repository.place.split("/"), *segments, **query)


def shown_version(
    hub: Hub, repository: Repository, commit: Commit, revision: str
) -> Version | None:
    """Return the version that a commit holds; on ``main``, else the newest that is not yanked."""
    found = hub.history.version(commit)
    if found is None and revision == MAIN:
        newest = hub.history.versions(repository, VERSIONS)
        found = next((one for one in newest if not one.yanked), None)
    return found


def read_manifest(hub: Hub, version: Version) -> Manifest | None:
    """Return the manifest of a version; None if it cannot be read, which a check reports."""
    try:
        return hub.catalog.manifest(version)
    except (CorruptBlobError, ManifestError):
        return None


def show(hub: Hub, ask: Asking) -> Response:
    """Show a repository at the revision in the query, else at ``main``."""
    repository, history, revision = ask.repository, hub.history, ask.value("revision") or MAIN
    commit = history.resolve(repository, revision)
    files = history.files(commit, (CARD_NAME, REPORT, *PICTURES, *using.LOOKED_FOR))
    listed = history.facts(repository) if revision == MAIN else history.facts_at(repository, commit)
    version = shown_version(hub, repository, commit, revision)
    manifest = None if version is None else read_manifest(hub, version)
    card, card_hidden = _card(hub, repository, commit, revision, files.get(CARD_NAME))
    what = using.Used(
        repository=repository,
        revision=revision,
        files=files,
        has_data=repository.kind == "dataset" and history.has_ending(commit, using.DATA),
        facts=listed,
        version=version,
        labels=0 if manifest is None else len(manifest.labels),
        hub=ask.base,
        needs_token=repository.visibility == "private" or hub.settings.sign_in_required,
    )
    known: list[facts.Fact] = []
    attention: HeatMap | None = None
    if version is not None:
        relatives = history.relatives(version, reader_of(ask.caller), levels=1, most=RELATIVES)
        known = facts.facts_of_version(version, manifest, relatives)
        attention = _attention(hub, manifest, relatives[0])
    return page(
        ask,
        "repository.html",
        about=about(repository, "Card", revision),
        commit=commit,
        is_pending=commit.reason in PENDING,
        version=version,
        is_of_commit=version is not None and version.number == commit.version,
        is_damaged=version is not None and manifest is None,
        card=card,
        card_hidden=card_hidden,
        card_file=to(repository, "blob", revision, CARD_NAME),
        facts=[*known, *facts.facts_of_card(repository, listed, version)],
        training=[] if manifest is None else facts.facts_of_training(manifest),
        description=_description(version),
        **_numbers(hub, version, claims_of(listed.card)),
        attention=attention,
        pictures=[
            (to(repository, "resolve", commit.oid, name), caption)
            for name, caption in PICTURES.items()
            if name in files
        ],
        report=to(repository, "blob", revision, REPORT) if REPORT in files else None,
        uses=using.uses(what),
        to=lambda *segments, **query: to(repository, *segments, **query),
        tag_of=version_tag,
        **_names(hub, ask),
    )


def _card(
    hub: Hub, repository: Repository, commit: Commit, revision: str, file: TreeFile | None
) -> tuple[Shown | None, str | None]:
    """Return the card, or why it is not shown."""
    if file is None:
        return None, None
    if file.size > SMALL_BYTES:
        return None, TOO_LARGE
    label = f"{repository.full_name}: {file.path}"
    try:
        content = read_blob(hub.catalog.blobs, file.sha256, most=SMALL_BYTES, label=label)
    except CorruptBlobError:
        return None, DAMAGED
    text = text_of(content.decode(errors="replace"))
    shown = show_card(
        text,
        files=to(repository, "blob", revision),
        content=to(repository, "resolve", commit.oid),
    )
    return shown, None


def _attention(hub: Hub, manifest: Manifest | None, parents: Relatives) -> HeatMap | None:
    """Return the attention of a fusion, by the names of its parts that the reader may see."""
    file = None if manifest is None else manifest.files.get(ATTENTION_NAME)
    if manifest is None or file is None or file.size > MOST_BYTES:
        return None
    names = [facts.name_of(parents.members.get(one.digest)) for one in manifest.parents]
    try:
        content = read_blob(hub.catalog.blobs, file.sha256, most=MOST_BYTES, label=ATTENTION_NAME)
    except CorruptBlobError:
        return None
    return heat_map(content, names)


def _description(version: Version | None) -> str:
    text = "" if version is None else version.description.strip()
    return text if len(text) <= DESCRIPTION else f"{text[:DESCRIPTION]}…"


def _numbers(hub: Hub, version: Version | None, claims: Sequence[Claim]) -> Mapping[str, Any]:
    """Return the metrics of a version, its later measurements, and other claims of the card."""
    recorded: Sequence[Measurement] = ()
    if version is not None:
        recorded = hub.catalog.measurements([version]).get(version.ref, ())
    metrics = () if version is None else version.metrics
    told = {(one.metric, one.value) for one in recorded} | {(m.name, m.value) for m in metrics}
    return {
        "claims": [one for one in claims if (one.metric, one.value) not in told],
        "measurements": recorded[:METRICS],
        "more_measurements": len(recorded[METRICS:]),
        "metrics": metrics[:METRICS],
        "more_metrics": len(metrics[METRICS:]),
    }


def _names(hub: Hub, ask: Asking) -> Mapping[str, Any]:
    """Return the versions, aliases, branches and tags of a repository."""
    repository, history = ask.repository, hub.history
    before = ask.number("before", default=0, most=MAX_ID) or None
    versions = history.versions(repository, VERSIONS + 1, before=before)
    branches, tags = history.branches(repository), history.tags(repository)
    of_versions = {version_tag(one.number) for one in versions}
    others = [tag for tag in tags if tag.name not in of_versions]
    return {
        "versions": versions[:VERSIONS],
        "older": str(versions[VERSIONS - 1].number) if len(versions) > VERSIONS else None,
        "is_first": before is None,
        "aliases": history.aliases(repository)[:NAMES],
        "branches": branches[:NAMES],
        "more_branches": len(branches[NAMES:]),
        "tags": others[:NAMES],
        "more_tags": len(others[NAMES:]),
    }
