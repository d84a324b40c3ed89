"""Pull a version from a hub: all of it checked first, then its parents and it registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi, is_offline_mode

from hubkit.bases.compare import require_base
from hubkit.bases.stored import cache_in, describe_stored
from hubkit.hub.address import RemoteAddress
from hubkit.hub.errors import remote_errors
from hubkit.hub.revisions import choose, version_at
from hubkit.hub.session import open_hub, scratch_folder
from hubkit.hub.snapshot import copy_files, copy_version, fetch, read_manifest
from hubkit.messages import told_as
from hubkit.sharing.publish_folder import checked_folder
from registry import AdapterRef, Catalog, Folder, Manifest, Parent, Version, read_folder
from registry.errors import (
    CorruptBlobError,
    HeadLabelsError,
    HubkitError,
    NotFoundError,
    ParentNotFoundError,
    RemoteAccessError,
    RemoteNotFoundError,
)
from registry.folders.adapterhub import fused_adapters


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A version on this machine, not yet registered."""

    address: RemoteAddress
    number: int | None
    folder: Path
    manifest: Manifest | None  # None for a repository that hubkit did not make


def pull_remote(
    catalog: Catalog,
    address: RemoteAddress,
    *,
    number: int | None = None,
    name: AdapterRef | None = None,
    base: str | None = None,
    allow_base_mismatch: bool = False,
) -> Version:
    """Bring a version from a hub into this registry, and first all that it is made of.

    Every byte is checked against the digests of its manifest, or, for a repository that hubkit
    did not make, against those of the hub. A rerun changes nothing, and goes on where a broken
    one stopped. With HF_HUB_OFFLINE, it works from what is here.

    Args:
        catalog: This registry.
        address: A repository on a hub.
        number: Which version; default: the newest, or the revision in `address`.
        name: What to call it here, under the next number; default: as there.
        base: The base model that it is to run on: a folder, or a hub id. Its weights must be
            those that the adapter was trained on; a repository that hubkit did not make gets their
            fingerprint.
        allow_base_mismatch: Register it although `base` is another one, and note that.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
        BaseModelMismatchError: `base` is another base model.
        CorruptBlobError: What arrived is not what its digest says.
        ConflictError: The name and number hold other content here.
        HubkitError: What arrived is no sound adapter; nothing of it is registered.
    """
    assert address.repository is not None
    target = name or AdapterRef.parse(address.repository)
    if is_offline_mode() and (here := _registered(catalog, address, number, target)):
        return here
    hub = None if is_offline_mode() else open_hub(address.endpoint)
    found = None if base is None else describe_stored(base, cache_in(catalog.home))
    with scratch_folder(catalog.home) as scratch:
        wanted = _fetch(hub, address, number, scratch)
        if wanted.manifest is None:
            return _register_foreign(catalog, wanted, target, base)
        if found and not allow_base_mismatch:
            require_base(address.url, wanted.manifest.base_model, found)
        ordered: list[_Fetched] = []
        _fetch_parents(hub, catalog, wanted, scratch, ordered)
        for parent in ordered:
            assert parent.address.repository is not None
            own = AdapterRef.parse(parent.address.repository)
            _register(catalog, parent, own, parent.number)
        return _register(catalog, wanted, target, wanted.number if name is None else None)


def _registered(
    catalog: Catalog, address: RemoteAddress, number: int | None, target: AdapterRef
) -> Version | None:
    """What is registered under the name already; if a revision is asked for, what was pulled so."""
    if address.revision is not None:
        return catalog.find_pulled(target, address.origin)
    try:
        return catalog.resolve(target if number is None else target.at(number))
    except NotFoundError:
        return None


def _fetch(
    hub: HfApi | None, address: RemoteAddress, number: int | None, scratch: Path
) -> _Fetched:
    """Bring a repository's files into a folder below `scratch`, checked."""
    address = choose(hub, address, number)
    with remote_errors(address.endpoint, address.repository):
        snapshot = fetch(hub, address)
    manifest = read_manifest(snapshot, address)
    number = version_at(address, manifest, number)
    folder = scratch / str(len(list(scratch.iterdir())))
    folder.mkdir()
    if manifest is None:
        copy_files(snapshot, folder)
        address = replace(address, revision=snapshot.name)  # a branch moves, a commit does not
    else:
        copy_version(snapshot, manifest, folder, address)
    return _Fetched(address, number, folder, manifest)


def _fetch_parents(
    hub: HfApi | None, catalog: Catalog, child: _Fetched, scratch: Path, ordered: list[_Fetched]
) -> None:
    """Bring what a version is made of and this registry lacks, each after its own parents."""
    assert child.manifest is not None
    for parent in child.manifest.parents:
        known = any(other.manifest and other.manifest.digest == parent.digest for other in ordered)
        if known or catalog.find_digest(parent.digest) is not None:
            continue
        fetched = _fetch_parent(hub, child, parent, scratch)
        _fetch_parents(hub, catalog, fetched, scratch, ordered)
        ordered.append(fetched)


def _fetch_parent(hub: HfApi | None, child: _Fetched, parent: Parent, scratch: Path) -> _Fetched:
    """Look for a parent under its own owner, then beside its child."""
    assert child.address.repository is not None
    ref = AdapterRef.parse(parent.ref)
    owner = child.address.repository.partition("/")[0]
    places = dict.fromkeys(AdapterRef(one, ref.name) for one in (ref.owner or owner, owner))
    reason: HubkitError | None = None
    for place in places:
        address = RemoteAddress(child.address.endpoint, str(place))
        try:
            fetched = _fetch(hub, address, ref.version, scratch)
        except (RemoteNotFoundError, RemoteAccessError) as error:
            reason = reason or error
            continue
        if fetched.manifest is not None and fetched.manifest.digest == parent.digest:
            return fetched
    listed = " and ".join(f"{child.address.endpoint}/{place}" for place in places)
    raise ParentNotFoundError(
        f"{child.address.url} is made of {parent.ref} (manifest {parent.digest[:12]}), which is "
        f"not in this registry and not at {listed}"
        f"{f' ({reason})' if reason else ''}. Pull it from where it is, then run this again.",
        parent.digest,
    ) from reason


def _register(catalog: Catalog, fetched: _Fetched, name: AdapterRef, number: int | None) -> Version:
    with told_as(fetched.folder, fetched.address.url):
        return _publish(catalog, read_folder(fetched.folder), fetched, name, number)


def _register_foreign(
    catalog: Catalog, fetched: _Fetched, target: AdapterRef, base: str | None
) -> Version:
    with (
        told_as(fetched.folder, fetched.address.url),
        _cures_of_a_pull(fetched),
        checked_folder(catalog, fetched.folder, target, base=base) as folder,
    ):
        known = catalog.find_pulled(target, fetched.address.origin)
        # What was pulled before stays as it was described then, with or without --base. It is
        # published again all the same, which brings back bytes that were lost.
        if known is not None:
            with suppress(CorruptBlobError):
                folder = Folder(catalog.manifest(known), folder.path)
        return _publish(catalog, folder, fetched, target, None)


@contextmanager
def _cures_of_a_pull(fetched: _Fetched) -> Iterator[None]:
    """Where the cure is an option that publishing a folder has, say how to come to a folder."""
    try:
        yield
    except ParentNotFoundError as error:
        names = fused_adapters(fetched.folder)
        raise ParentNotFoundError(
            f"{fetched.address.url} is a fusion of the adapters {', '.join(names)}, which it does "
            f"not hold; this registry has no {error.subject}. Pull or publish each of them first, "
            f"under these names: hubkit pull OWNER/NAME --name {error.subject}. Then run this "
            "again.",
            error.subject,
        ) from error
    except HeadLabelsError as error:
        raise HeadLabelsError(
            f"{error} To do that, get the files with `hf download {fetched.address.repository} "
            "--local-dir FOLDER`; then `hubkit publish FOLDER`.",
            error.subject,
        ) from error


def _publish(
    catalog: Catalog, folder: Folder, fetched: _Fetched, name: AdapterRef, number: int | None
) -> Version:
    assert fetched.address.repository is not None
    return catalog.publish(
        name,
        folder,
        author=fetched.address.repository.partition("/")[0],
        number=number,
        origin=fetched.address.origin,
    )
