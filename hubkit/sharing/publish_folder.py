"""Publish a finished folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hubkit.bases.compare import completed, require_base
from hubkit.bases.parts import without_parts
from hubkit.bases.stored import cache_in, describe_stored, find_base_folder, labels_in
from hubkit.sharing.pickles import without_pickles
from registry import AdapterRef, Catalog, Folder, Parent, Version, read_folder
from registry.arguments import checked
from registry.errors import (
    FusedAdapterNotFoundError,
    HeadLabelsError,
    NotFoundError,
    UnknownTaskError,
    listed,
)
from registry.folders import Given
from registry.folders.adapterhub import fused_adapters
from registry.folders.folder import numbered_labels
from registry.folders.kinds import FUSION, find_parts
from registry.storage.files import MANIFEST_NAME
from registry.storage.place import Place

_log = logging.getLogger(__name__)


@checked
def publish_folder(
    catalog: Catalog,
    path: Path,
    name: AdapterRef,
    *,
    base: str | None = None,
    parents: Sequence[AdapterRef] = (),
    labels: Sequence[str] = (),
    task: str | None = None,
    tags: Sequence[str] | None = None,
    license: str | None = None,
    language: str | None = None,
    description: str | None = None,
    message: str = "",
) -> Version:
    """Publish a folder of hubkit, PEFT or AdapterHub, with facts that it lacks or has differently.

    The folder is not changed: what is given here stands only in the published manifest. Pickled
    weights are published as safetensors. When the base model is at hand (a folder, or in the
    Hub's cache), every tensor is held to it, and its fingerprint is published.

    Args:
        base: The base model, in place of the one that the folder names: a folder, or a hub id.
        parents: The parts of a fusion, in its order; default: those of these names here.
        labels: Label names by label id, for a head whose files do not name them.
        task: The task of the adapter; this and the next four default to what the folder says.
        tags: Words to find it by, in place of those in the manifest.
        license: SPDX identifier.
        language: BCP 47 tag.
        description: A text for readers.
        message: A message about this version.

    Raises:
        FolderError: ``path`` is not an adapter's folder, its files contradict each other, or
            something has to be said that it does not say: one of the error's own classes.
        AdapterError: Its weights need code to load, or fit no place in the base model.
        BaseModelMismatchError: The base model is not the one that it was trained on.
        ManifestError: The manifest does not allow a fact.
        HubkitError: As ``Catalog.publish``.
    """
    facts = {
        "task": task,
        "tags": None if tags is None else tuple(tags),
        "license": license,
        "language": language,
        "description": description,
    }
    changes = {fact: value for fact, value in facts.items() if value is not None}
    with checked_folder(catalog, path, name, base=base, parents=parents, labels=labels) as folder:
        manifest = folder.manifest.changed(f"What is to be published from {path}", **changes)
        if manifest.task is None and not (path / MANIFEST_NAME).is_file():
            raise UnknownTaskError(f"{path} does not say what the adapter does.", path)
        return catalog.publish(name, Folder(manifest, folder.path), message=message)


@contextmanager
def checked_folder(
    catalog: Catalog,
    path: Place,
    name: AdapterRef,
    *,
    base: str | None = None,
    parents: Sequence[AdapterRef] = (),
    labels: Sequence[str] | None = None,
) -> Iterator[Folder]:
    """Yield a folder as it is to be published: without pickles, and held to its base model.

    Args:
        catalog: Where a fusion's parents are looked for.
        path: A folder of hubkit, PEFT or AdapterHub.
        name: What it is to be called; a fusion's parents are looked for under its owner first.
        base: As in :func:`publish_folder`.
        parents: As in :func:`publish_folder`.
        labels: As in :func:`publish_folder`; None if no user can be asked: classes without a name
            are then numbered, with a note.

    Raises:
        HubkitError: As :func:`publish_folder`.
    """
    base_folder = None if base is None else find_base_folder(base)
    cache = cache_in(catalog.home)
    foreign = not (path / MANIFEST_NAME).is_file()
    with without_pickles(path) as (clean, left_out):
        given = Given(
            base=None if base is None else describe_stored(base, cache),
            labels=None if labels is None else tuple(labels),
            base_labels=() if base_folder is None else labels_in(base_folder),
            parents=_find_parents(catalog, clean, name, parents) if foreign else (),
        )
        folder = read_folder(clean, given, look_at_numbers=True)
        manifest = folder.manifest
        named = manifest.base_model.id, manifest.base_model.revision
        where = base_folder if base is not None else find_base_folder(*named)
        if base is not None or (foreign and where is not None):
            found = given.base or describe_stored(named[0], cache, named[1])
            if manifest.head is not None:  # which brings these parts
                found = without_parts(found, manifest.head.modules)
            require_base(str(path), manifest.base_model, found)
            if foreign or manifest.base_model.fingerprint is None:
                manifest = manifest.changed(str(path), base_model=found)
            else:
                known = completed(manifest.base_model, found)
                manifest = manifest.changed(str(path), base_model=known)
        if labels and tuple(labels) != manifest.labels:
            raise HeadLabelsError(
                f"{path} has the labels {', '.join(manifest.labels) or 'none'}, but "
                f"{', '.join(labels)} were given.",
                path,
                given=tuple(labels),
                expected=len(manifest.labels),
                found=manifest.labels,
            )
        # Not at the top: it loads torch.
        from hubkit.sharing.fit.check import check_tensors

        checked = check_tensors(catalog, clean, manifest, where, foreign=foreign)
        for note in (*folder.notes, *checked):
            _log.warning("%s", note)
        numbers = numbered_labels(len(manifest.labels))
        if foreign and labels is None and numbers and manifest.labels == numbers:
            _log.warning(
                "Nothing names the classes of the head, so they are called %s.",
                listed([*numbers]),
                extra={"about": HeadLabelsError},
            )
        if left_out:
            _log.warning(
                "Left out, because a pickle can run code: %s. The rest is published.",
                ", ".join(left_out),
            )
        yield Folder(manifest, clean)


def _find_parents(
    catalog: Catalog, folder: Place, name: AdapterRef, given: Sequence[AdapterRef]
) -> tuple[Parent, ...]:
    """Pin the parts of a fusion folder: the given ones, or those with these names here."""
    # Report a folder of no kind, or of two, before looking for its parents.
    names = fused_adapters(folder) if folder.is_dir() and FUSION in find_parts(folder) else ()
    if not names or given:
        versions = [catalog.resolve(ref) for ref in given]
    else:
        versions = [_find_parent(catalog, folder, name, adapter) for adapter in names]
    return tuple(
        Parent(ref=str(version.ref), digest=version.manifest_digest) for version in versions
    )


def _find_parent(catalog: Catalog, folder: Place, name: AdapterRef, adapter: str) -> Version:
    owners = [name.owner] if name.owner is None else [name.owner, None]
    for owner in owners:
        try:
            return catalog.resolve(AdapterRef(owner, adapter))
        except NotFoundError:
            continue
    raise FusedAdapterNotFoundError(
        f"{folder} is a fusion of adapters, one of which it calls {adapter!r}; nothing here is "
        "called so. Publish it first.",
        adapter,
    )
