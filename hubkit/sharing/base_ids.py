"""The id of a base model on a hub, in place of a folder on this machine.

A version is its manifest, so the name of its base model cannot change on the way to a hub: the hub
would get another version. Instead, the same files are published here once more, with the id in
place of the path, and that version goes to the hub.
"""

from __future__ import annotations

import logging

from hubkit.bases.compare import require_base
from hubkit.bases.stored import cache_in, describe_stored, find_base_folder
from hubkit.sharing.base_mentions import folders_named, is_id, name_base, without_bases
from hubkit.sharing.scratch import scratch_folder
from registry import AdapterRef, Catalog, Parent, Version, read_folder, write_manifest
from registry.errors import ConflictError, InvalidNameError, UnknownBaseError
from registry.manifest import BaseModelInfo

_log = logging.getLogger(__name__)


def hub_id(base: BaseModelInfo) -> str | None:
    """Return the id of a base model if it has one that a hub could know."""
    # A model that came from nowhere is called by its class.
    return base.id if is_id(base.id) and base.id != base.architecture else None


class BaseIds:
    """What the base models of a version, and of all that it is made of, are called elsewhere.

    Nothing is changed before `rename`.

    Args:
        catalog: Where the version is.
        version: The version to publish.
        base: The base model's id; may be left out if the version names one.

    Raises:
        UnknownBaseError: It names a folder, and `base` is None.
        InvalidNameError: `base` is no id.
        ConflictError: It names another id than `base`.
        ParentNotFoundError: A part of it is not here.
    """

    def __init__(self, catalog: Catalog, version: Version, base: str | None) -> None:
        if base is not None and not is_id(base):
            raise InvalidNameError(
                f"{base} is not the id of a base model: expected OWNER/NAME, as on a hub, or NAME.",
                base,
            )
        self._catalog = catalog
        self._base = base
        self._to_rename: dict[str, bool] = {}
        self._renamed: dict[str, Version] = {}
        self._check(version)

    def renames(self, version: Version) -> bool:
        """Whether a version, its files, or what it is made of, names its base model by a folder."""
        return self._to_rename.get(version.manifest_digest, False)

    def rename(self, version: Version) -> Version:
        """Return a version that names its base model by an id, as do all its parts.

        That is the version itself, or the same, published here under the next number.

        Raises:
            HubkitError: As ``Catalog.publish``.
        """
        if not self.renames(version):
            return version
        if version.manifest_digest not in self._renamed:
            self._renamed[version.manifest_digest] = self._publish(version)
        return self._renamed[version.manifest_digest]

    def _check(self, version: Version) -> bool:
        if version.manifest_digest not in self._to_rename:
            manifest = self._catalog.manifest(version)
            own = self._with_id(version, manifest.base_model) != manifest.base_model or bool(
                folders_named(self._catalog.folder(version), manifest)
            )
            parts = [self._check(part) for part in self._catalog.parents(version)]
            self._to_rename[version.manifest_digest] = own or any(parts)
        return self._to_rename[version.manifest_digest]

    def _publish(self, version: Version) -> Version:
        manifest = self._catalog.manifest(version)
        base = self._with_id(version, manifest.base_model)
        parts = [(part, self.rename(part)) for part in self._catalog.parents(version)]
        parents = tuple(
            pinned
            if renamed is part
            else Parent(ref=str(renamed.ref), digest=renamed.manifest_digest)
            for pinned, (part, renamed) in zip(manifest.parents, parts, strict=True)
        )
        tags = without_bases(manifest.tags)
        changed = manifest.changed(str(version.ref), base_model=base, parents=parents, tags=tags)
        with scratch_folder(self._catalog.home) as scratch:
            folder = scratch / "version"
            self._catalog.materialize(version, folder)
            named = folders_named(folder, manifest)
            if named or base != manifest.base_model:
                name_base(folder, base.id, named)
            write_manifest(folder, changed)
            read = read_folder(folder)
            left = version.ref.is_nameless  # of a deleted one, which has its digest for a name
            renamed = self._catalog.publish(
                AdapterRef.nameless(read.manifest.digest) if left else version.ref.repository,
                read,
                message=version.message,
                author=version.author,
            )
        _log.warning(
            "%s names its base model by a folder on this machine. What is published is %s: the "
            "same, but it calls the base model %s.",
            version.ref,
            renamed.ref,
            base.id,
        )
        return renamed

    def _with_id(self, version: Version, base: BaseModelInfo) -> BaseModelInfo:
        known = hub_id(base)
        if known is not None:
            if self._base not in (None, known):
                raise ConflictError(
                    f"{version.ref} says that its base model is {known}, not {self._base}, and "
                    "versions never change. Publish it as what it says.",
                    version.ref,
                    given=self._base,
                    found=known,
                )
            return base
        if self._base is None:
            raise UnknownBaseError(
                f"{version.ref} names its base model only as {base.id}, which means nothing "
                "elsewhere; others know it as OWNER/NAME on a hub, or just by a NAME if it is on "
                "none.",
                version.ref,
                found=base.id,
            )
        if find_base_folder(base.id) is not None:
            # Remembered by its weights, so that what is published now finds it here, too.
            require_base(
                str(version.ref), base, describe_stored(base.id, cache_in(self._catalog.home))
            )
        return base.model_copy(update={"id": self._base})
