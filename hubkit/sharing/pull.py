"""Pull from a hub or from the folder of another registry, whichever is named."""

from __future__ import annotations

from pathlib import Path

from hubkit.bases.compare import require_base
from hubkit.bases.known import require_known_base
from hubkit.bases.stored import cache_in, describe_stored
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import InvalidNameError, RefNotFoundError


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
        name: What to call it here, under the next number; default: as there.
        base: The base model that it is to run on: a folder, or a hub id.
        allow_base_mismatch: Take it although `base` is not what it was trained on, and note that.

    Raises:
        InvalidNameError: `wanted` or `source` is misspelled.
        BaseModelMismatchError: It was trained on another base model than `base`.
        HubkitError: As `Catalog.pull` and `hubkit.sharing.pull_hub.pull_remote`.
    """
    from hubkit.hub.address import default_endpoint, is_remote

    where = default_endpoint() if source is None else source
    if is_remote(wanted) or is_remote(where):
        version = _pull_remote(catalog, wanted, where, name, base, allow_base_mismatch)
    else:
        ref = AdapterRef.parse(wanted)
        other = open_catalog(Path(where), create=False)
        there = _find_there(ref, other)
        if base is not None and not allow_base_mismatch:
            trained_on = other.manifest(there).base_model
            require_base(str(ref), trained_on, describe_stored(base, cache_in(catalog.home)))
        version = catalog.pull(there, other, name=name)
    if base is not None:
        found = describe_stored(base, cache_in(catalog.home))
        assert found.fingerprint is not None
        require_known_base(
            catalog.home,
            version,
            catalog.manifest(version),
            found.fingerprint,
            base=base,
            allow_mismatch=allow_base_mismatch,
        )
    return version


def _find_there(ref: AdapterRef, other: Catalog) -> Version:
    """Let an error about what another registry lacks say which one that is."""
    try:
        return other.resolve(ref)
    except RefNotFoundError as error:
        raise RefNotFoundError(str(error), ref, found=error.found or other.home) from error


def _pull_remote(
    catalog: Catalog,
    wanted: str,
    source: str,
    name: AdapterRef | None,
    base: str | None,
    allow_base_mismatch: bool,
) -> Version:
    from hubkit.hub.address import RemoteAddress, is_remote
    from hubkit.sharing.pull_hub import pull_remote

    number = None
    if is_remote(wanted):
        address = RemoteAddress.parse(wanted)
    else:
        ref, hub = AdapterRef.parse(wanted), RemoteAddress.parse(source)
        if ref.owner is None or hub.repository:
            raise InvalidNameError(
                f"On a hub, an adapter is called owner/name, and --from names the hub alone: found "
                f"{wanted} from {source}.",
                wanted,
            )
        number = ref.version
        address = RemoteAddress(hub.endpoint, str(ref.repository), ref.alias)
    if address.repository is None:
        raise InvalidNameError(f"{wanted} names no repository: expected hf:owner/name.", wanted)
    return pull_remote(
        catalog,
        address,
        number=number,
        name=name,
        base=base,
        allow_base_mismatch=allow_base_mismatch,
    )
