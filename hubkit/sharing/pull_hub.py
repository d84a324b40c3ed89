"""Pull a version from a hub: all of it checked first, then its parents and it registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import is_offline_mode

from hubkit.bases.compare import require_base
from hubkit.hub.address import Repository
from hubkit.hub.revisions import choose, version_at
from hubkit.hub.session import HubSession, open_unless_offline
from hubkit.hub.snapshot import find_snapshot
from hubkit.sharing.publish_folder import checked_folder
from hubkit.sharing.scratch import scratch_folder
from registry import AdapterRef, Catalog, Folder, Manifest, Parent, Version, read_folder
from registry.errors import (
    ConflictError,
    CorruptBlobError,
    HubkitError,
    NotFoundError,
    ParentNotFoundError,
    RemoteAccessError,
    RemoteNotFoundError,
)
from registry.folders.adapterhub import fused_adapters
from registry.manifest import BaseModelInfo
from registry.storage.place import Copy


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A version on this machine, not yet registered."""

    repository: Repository
    number: int | None
    folder: Copy
    manifest: Manifest | None  # None for what is no version there


def pull_remote(
    catalog: Catalog,
    repository: Repository,
    *,
    number: int | None = None,
    name: AdapterRef | None = None,
    base: str | None = None,
    must_fit: BaseModelInfo | None = None,
) -> Version:
    """Bring a version from a hub into this registry, and first all that it is made of.

    Every byte is checked against the digests of its manifest, or, for a repository that hubkit
    did not make, against those of the hub. A rerun changes nothing, and an interrupted one is
    resumed. With HF_HUB_OFFLINE, it works from what is here.

    Args:
        catalog: This registry.
        repository: A repository on a hub.
        number: Which version; default: the newest, or the revision in `repository`.
        name: Its name here, under the next number; default: as there.
        base: The base model that it is to run on: a folder, or a hub id. A repository that hubkit
            did not make gets its fingerprint.
        must_fit: The base model whose weights it must have been trained on; default: any.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
        BaseModelMismatchError: It was trained on another base model.
        CorruptBlobError: Bytes do not have their digest.
        ConflictError: The name and number hold other content here.
        HubkitError: It is not a sound adapter; nothing of it is registered.
    """
    target = name or AdapterRef.parse(repository.name)
    if is_offline_mode() and (here := _registered(catalog, repository, number, target)):
        return here
    with (
        open_unless_offline(repository.hub) as session,
        scratch_folder(catalog.home) as scratch,
    ):
        wanted = _fetch(session, repository, number, scratch)
        if wanted.manifest is None:
            return _register_foreign(catalog, wanted, target, base)
        if must_fit is not None:
            require_base(repository.url, wanted.manifest.base_model, must_fit)
        ordered: list[_Fetched] = []
        _fetch_parents(session, catalog, wanted, scratch, ordered)
        for parent in ordered:
            own = AdapterRef.parse(parent.repository.name)
            _register(catalog, parent, own, parent.number)
        return _register(catalog, wanted, target, wanted.number if name is None else None)


def _registered(
    catalog: Catalog, repository: Repository, number: int | None, target: AdapterRef
) -> Version | None:
    """The version that the name has already; if a revision is asked for, the one pulled from it."""
    if repository.revision is not None:
        return catalog.find_pulled(target, repository.origin)
    try:
        return catalog.resolve(target if number is None else target.at(number))
    except NotFoundError:
        return None


def _fetch(
    session: HubSession | None, repository: Repository, number: int | None, scratch: Path
) -> _Fetched:
    """Bring a repository's files into a folder below `scratch`, checked."""
    repository = choose(session, repository, number)
    snapshot = find_snapshot(session, repository)
    manifest = snapshot.manifest()
    number = version_at(repository, manifest, number, snapshot.version)
    folder = scratch / str(len(list(scratch.iterdir())))
    folder.mkdir()
    if manifest is None:
        snapshot.copy_files(folder)
        repository = snapshot.repository  # a branch moves, a commit does not
    else:
        snapshot.copy_version(manifest, folder)
    return _Fetched(repository, number, Copy(folder, repository.url), manifest)


def _fetch_parents(
    session: HubSession | None,
    catalog: Catalog,
    child: _Fetched,
    scratch: Path,
    ordered: list[_Fetched],
) -> None:
    """Bring what a version is made of and this registry lacks, each after its own parents."""
    assert child.manifest is not None
    for parent in child.manifest.parents:
        known = any(other.manifest and other.manifest.digest == parent.digest for other in ordered)
        if known or catalog.find_digest(parent.digest) is not None:
            continue
        fetched = _fetch_parent(session, child, parent, scratch)
        _fetch_parents(session, catalog, fetched, scratch, ordered)
        ordered.append(fetched)


def _fetch_parent(
    session: HubSession | None, child: _Fetched, parent: Parent, scratch: Path
) -> _Fetched:
    """Look for a parent under its own owner, then beside its child, then among what was deleted."""
    ref, hub, owner = AdapterRef.parse(parent.ref), child.repository.hub, child.repository.owner
    places = {
        Repository(hub, f"{one}/{ref.name}"): ref.version for one in (ref.owner or owner, owner)
    }
    # The name of a version that was deleted there, or elsewhere before: its digest alone.
    left = AdapterRef.nameless(parent.digest)
    deleted = {Repository(hub, str(left)): 1, Repository(hub, f"{owner}/{left.name}"): 1}
    reason: HubkitError | None = None
    for place, number in {**places, **deleted}.items():
        try:
            fetched = _fetch(session, place, number, scratch)
        except (RemoteNotFoundError, RemoteAccessError) as error:
            reason = reason or error
            continue
        if fetched.manifest is not None and fetched.manifest.digest == parent.digest:
            return fetched
        reason = reason or ConflictError(f"what is at {fetched.repository.page} is something else")
    listed = " and ".join(place.url for place in places)
    raise ParentNotFoundError(
        f"{child.repository.url} is made of {parent.ref} (manifest {parent.digest[:12]}), which is "
        f"not in this registry and not at {listed}"
        f"{f' ({reason})' if reason else ''}. Pull it from where it is, then run this again.",
        parent.digest,
    ) from reason


def _register(catalog: Catalog, fetched: _Fetched, name: AdapterRef, number: int | None) -> Version:
    return _publish(catalog, read_folder(fetched.folder), fetched, name, number)


def _register_foreign(
    catalog: Catalog, fetched: _Fetched, target: AdapterRef, base: str | None
) -> Version:
    with (
        _parents_of_a_pull(fetched),
        checked_folder(catalog, fetched.folder, target, base=base) as folder,
    ):
        known = catalog.find_pulled(target, fetched.repository.origin)
        # What was pulled before stays as it was described then, with or without --base. It is
        # published again all the same, which brings back bytes that were lost.
        if known is not None:
            with suppress(CorruptBlobError):
                folder = Folder(catalog.manifest(known), folder.path)
        return _publish(catalog, folder, fetched, target, None)


@contextmanager
def _parents_of_a_pull(fetched: _Fetched) -> Iterator[None]:
    """A fusion of another tool names its parts by words: say which of them are to be here."""
    try:
        yield
    except ParentNotFoundError as error:
        names = fused_adapters(fetched.folder)
        raise ParentNotFoundError(
            f"{fetched.repository.url} is a fusion of the adapters {', '.join(names)}, which it "
            f"does not hold; this registry has no {error.subject}. Pull or publish each of them "
            "under these names first, then run this again.",
            error.subject,
            expected=names,
        ) from error


def _publish(
    catalog: Catalog, folder: Folder, fetched: _Fetched, name: AdapterRef, number: int | None
) -> Version:
    return catalog.publish(
        name,
        folder,
        author=fetched.repository.owner,
        number=number,
        origin=fetched.repository.origin,
    )
