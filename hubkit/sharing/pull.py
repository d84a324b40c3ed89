"""Pull from a hub or from the folder of another registry, whichever is named."""

from __future__ import annotations

from pathlib import Path

from hubkit.bases.compare import require_base
from hubkit.bases.known import require_known_base
from hubkit.bases.stored import cache_in, describe_stored
from hubkit.hub.address import Hub, Repository, default_hub, is_remote
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.arguments import checked
from registry.errors import InvalidNameError, RefNotFoundError
from registry.manifest import BaseModelInfo


@checked
def pull(
    catalog: Catalog,
    wanted: str,
    source: str | None = None,
    *,
    name: AdapterRef | None = None,
    base: str | None = None,
    allow_base_mismatch: bool = False,
) -> Version:
    """Copy a version into this registry, and first all that it is made of.

    Args:
        catalog: This registry.
        wanted: What it is called there: ``owner/name[@version|@alias]``, or on the default hub
            ``hf:owner/name[@revision]``.
        source: The URL of a hub, or the folder of a registry; default: the default hub.
        name: Its name here, under the next number; default: as there.
        base: The base model that it is to run on: a folder, or a hub id.
        allow_base_mismatch: Take it although `base` is not what it was trained on, and note that.

    Raises:
        InvalidNameError: `wanted` or `source` is misspelled.
        BaseModelMismatchError: It was trained on another base model than `base`.
        HubkitError: As `Catalog.pull` and `hubkit.sharing.pull_hub.pull_remote`.
    """
    found = None if base is None else describe_stored(base, cache_in(catalog.home))
    must_fit = None if allow_base_mismatch else found
    if is_remote(wanted):
        repository, number = Repository.parse(wanted), None
    elif source is None or is_remote(source):
        repository, number = _on_hub(wanted, default_hub() if source is None else Hub.parse(source))
    else:
        version = _pull_from_folder(catalog, wanted, Path(source), name, must_fit)
        return _noted(catalog, version, base, found, allow_base_mismatch)
    # Only here, as a registry's folder needs nothing of it.
    from hubkit.sharing.pull_hub import pull_remote

    version = pull_remote(
        catalog, repository, number=number, name=name, base=base, must_fit=must_fit
    )
    return _noted(catalog, version, base, found, allow_base_mismatch)


def _on_hub(wanted: str, hub: Hub) -> tuple[Repository, int | None]:
    """The repository that a ref means on a hub, and the number of the version."""
    ref = AdapterRef.parse(wanted)
    if ref.owner is None:
        raise InvalidNameError(
            f"On a hub, an adapter is called owner/name: found {wanted} from {hub.url}.", wanted
        )
    return Repository(hub, str(ref.repository), ref.alias), ref.version


def _pull_from_folder(
    catalog: Catalog,
    wanted: str,
    folder: Path,
    name: AdapterRef | None,
    must_fit: BaseModelInfo | None,
) -> Version:
    ref, other = AdapterRef.parse(wanted), open_catalog(folder, create=False)
    try:
        there = other.resolve(ref)
    except RefNotFoundError as error:
        raise RefNotFoundError(str(error), ref, found=error.found or other.home) from error
    if must_fit is not None:
        require_base(str(ref), other.manifest(there).base_model, must_fit)
    return catalog.pull(there, other, name=name)


def _noted(
    catalog: Catalog,
    version: Version,
    base: str | None,
    found: BaseModelInfo | None,
    allow_mismatch: bool,
) -> Version:
    """Note which base model a version is to run on here."""
    if base is not None and found is not None and found.fingerprint is not None:
        require_known_base(
            catalog.home,
            version,
            catalog.manifest(version),
            found,
            base=base,
            allow_mismatch=allow_mismatch,
        )
    return version
