"""The base models that adapters were attached to here. Loads no torch.

An adapter of another library does not say which weights its base model had, and one of an earlier
hubkit does not say which configuration and tokenizer. What a manifest does not record is taken from
the first base model that fits, and noted in the registry's folder. From then on another one is an
error, as it is for adapters that record everything. A base model that the user allowed is noted,
too. A backup has these notes: without them, the next base model would be taken for the right one. A
bundle does not have them, as they belong to this registry.

    known-bases/MANIFEST-DIGEST.json
        {"first": FINGERPRINT|null, "allowed": [DIGEST, ...], "base": BASE-MODEL|null}
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubkit.bases.compare import (
    NAMES,
    RECORDED_WITH,
    Comparison,
    compare,
    completed,
    identity,
    lacking,
    other_base,
)
from registry import Manifest, Version
from registry.catalog.catalog import KNOWN_BASES_NAME
from registry.manifest import BaseModelInfo, manifest_errors
from registry.storage.durable import make_folders, storage_errors, write_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownBases:
    """What is noted of one version.

    Attributes:
        base: The base model it was first attached to, as far as the manifest does not describe it.
        allowed: The base models that it was attached to although it was trained on another: their
            :func:`hubkit.bases.compare.identity`, or the fingerprint that an earlier hubkit noted.
    """

    base: BaseModelInfo | None = None
    allowed: tuple[str, ...] = ()

    @property
    def first(self) -> str | None:
        """The fingerprint that is expected, where the manifest has none."""
        return self.base.fingerprint if self.base else None


def known_bases(home: Path, version: Version) -> KnownBases:
    """Return what is noted of a version in the registry at `home`.

    Raises:
        StorageError: It cannot be read.
    """
    path = _path(home, version)
    with storage_errors("read", path):
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return KnownBases()
    base: dict[str, Any] | None = content.get("base")
    if base is None and content["first"] is not None:  # written by an earlier hubkit
        base = {"id": "the first base model", "fingerprint": content["first"]}
    with manifest_errors(str(path)):
        noted = None if base is None else BaseModelInfo.model_validate(base)
    return KnownBases(noted, tuple(content["allowed"]))


def expected_base(manifest: Manifest, known: KnownBases) -> BaseModelInfo:
    """The base model that a version belongs to: what its manifest says, and what is noted here."""
    return manifest.base_model if known.base is None else completed(manifest.base_model, known.base)


def require_known_base(
    home: Path,
    version: Version,
    manifest: Manifest,
    found: BaseModelInfo,
    *,
    base: str,
    allow_mismatch: bool = False,
) -> Comparison:
    """Make sure that a version belongs to a base model, as far as anybody knows.

    To be called before a version is attached.

    Args:
        home: The registry's folder.
        version: The version to attach.
        manifest: Its manifest.
        found: The base model at hand.
        base: The name of this base model, for messages.
        allow_mismatch: Go on with another base model, and note it; it is not asked again.

    Returns:
        How the base model at hand compares with the expected one: with differences if these are
        allowed.

    Raises:
        OtherBaseError: It belongs to another one.
        StorageError: The note cannot be written.
    """
    found = found.model_copy(update={"id": base})
    known = known_bases(home, version)
    expected = expected_base(manifest, known)
    comparison = compare(expected, found)
    if comparison.same:
        for note in comparison.notes:
            _log.warning("%s: %s", version.ref, note)
        _note_what_is_new(home, version, known, expected, found)
        return comparison
    # What an earlier hubkit noted of it, which knew less.
    less = found.model_copy(update={"tokenizer_settings": None, "generation": None})
    if {identity(found), identity(less), found.fingerprint} & {*known.allowed}:
        return comparison
    if not allow_mismatch:
        first = manifest.base_model.fingerprint is None and known.first is not None
        since = "was first attached to" if first else "was trained on"
        raise other_base(str(version.ref), expected, found, comparison, since=since)
    _note(home, version, KnownBases(known.base, (*known.allowed, identity(found))))
    _log.warning(
        "%s runs on %s from now on, although it belongs to %s, which differs in %s.",
        version.ref,
        base,
        manifest.base_model.id,
        ", ".join(comparison.differences),
    )
    return comparison


def _note_what_is_new(
    home: Path,
    version: Version,
    known: KnownBases,
    expected: BaseModelInfo,
    found: BaseModelInfo,
) -> None:
    """Note what was not known of a version's base model, and warn of what was not checked."""
    new = lacking(expected, found)
    if not new:
        return
    taken = {name: getattr(found, name) for field in new for name in RECORDED_WITH[field]}
    noted = (known.base or BaseModelInfo(id=found.id)).model_copy(update=taken)
    _note(home, version, KnownBases(noted, known.allowed))
    named = [field for field in new if field != "tokenizer_settings" or len(new) == 1]
    *others, last = (NAMES[field] for field in named)
    missing = f"{', '.join(others)} and {last}" if others else last
    _log.warning(
        "%s does not record the %s of its base model. Checked: %s. Not checked: that %s has the %s "
        "that it was trained with. What it has is noted, and expected from now on.",
        version.ref,
        missing,
        "the architecture, and name and shape of every tensor"
        if "fingerprint" in new
        else "the weights",
        found.id,
        missing,
    )


def _note(home: Path, version: Version, known: KnownBases) -> None:
    path = _path(home, version)
    with storage_errors("write", path):
        make_folders(path.parent)
    content = {
        "first": known.first,
        "allowed": known.allowed,
        "base": None if known.base is None else known.base.model_dump(mode="json"),
    }
    write_file(path, json.dumps(content, indent=2).encode())


def _path(home: Path, version: Version) -> Path:
    return home / KNOWN_BASES_NAME / f"{version.manifest_digest}.json"
