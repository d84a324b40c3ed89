"""The base models that adapters were attached to here. Loads no torch.

An adapter of another library does not say which weights its base model had. The first base model
that it is attached to is taken to be the right one, and noted in the registry's folder; from then
on another one is an error, as it is for adapters that came with a fingerprint. So is noted who was
told to go on with another base model all the same. A backup has these notes, as without them the
next base model would be taken for the right one; a bundle has not, as they tell of this registry.

    known-bases/MANIFEST-DIGEST.json    {"first": FINGERPRINT|null, "allowed": [FINGERPRINT, ...]}
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from registry import Manifest, Version
from registry.catalog.catalog import KNOWN_BASES_NAME
from registry.errors import BaseModelMismatchError
from registry.storage.durable import make_folders, storage_errors, write_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownBases:
    """What is noted of one version.

    Attributes:
        first: Fingerprint of the base model it was first attached to, where its manifest has none.
        allowed: Fingerprints that it was attached to although it was trained on another.
    """

    first: str | None = None
    allowed: tuple[str, ...] = ()


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
    return KnownBases(first=content["first"], allowed=tuple(content["allowed"]))


def require_known_base(
    home: Path,
    version: Version,
    manifest: Manifest,
    fingerprint: str,
    *,
    base: str,
    allow_mismatch: bool = False,
) -> None:
    """Make sure that a version belongs to a base model, as far as anybody knows.

    To be called before a version is attached.

    Args:
        home: The registry's folder.
        version: What is to be attached.
        manifest: Its manifest.
        fingerprint: That of the base model at hand.
        base: What the base model at hand is called, for messages.
        allow_mismatch: Go on with another base model, and note it; it is not asked again.

    Raises:
        BaseModelMismatchError: It belongs to another one.
        StorageError: What has to be noted cannot be written.
    """
    known = known_bases(home, version)
    expected = manifest.base_model.fingerprint or known.first
    if expected == fingerprint or fingerprint in known.allowed:
        return
    if expected is None:
        _note(home, version, KnownBases(first=fingerprint, allowed=known.allowed))
        _log.warning(
            "%s came without the fingerprint of its base model. Checked: the architecture, and "
            "name and shape of every tensor. Not checked: that %s has the weights that it was "
            "trained on. Its fingerprint, %s, is expected from now on.",
            version.ref,
            base,
            fingerprint[:12],
        )
        return
    if not allow_mismatch:
        since = "was trained on" if manifest.base_model.fingerprint else "was first attached to"
        raise BaseModelMismatchError(
            f"{version.ref} {since} {manifest.base_model.id} with weights {expected[:12]}, but "
            f"{base} has {fingerprint[:12]}. Name the right base model with --base. With "
            "--allow-base-mismatch it goes on all the same, and that is noted.",
            version.ref,
        )
    _note(home, version, KnownBases(known.first, (*known.allowed, fingerprint)))
    _log.warning(
        "%s runs on %s (%s) from now on, although it belongs to %s (%s).",
        version.ref,
        base,
        fingerprint[:12],
        manifest.base_model.id,
        expected[:12],
    )


def _note(home: Path, version: Version, known: KnownBases) -> None:
    path = _path(home, version)
    with storage_errors("write", path):
        make_folders(path.parent)
    write_file(path, json.dumps(asdict(known), indent=2).encode())


def _path(home: Path, version: Version) -> Path:
    return home / KNOWN_BASES_NAME / f"{version.manifest_digest}.json"
