"""A repository's files in the stock client's cache, and what they are checked against.

The cache names a blob by what the hub says its hash is, but compares only sizes: the bytes are
compared here. A blob with other bytes is fetched again once, and then removed.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from hubkit.hub.address import RemoteAddress
from hubkit.hub.revisions import OWN_CARD, no_revision, path_there
from hubkit.hub.session import cache_of
from registry import Manifest
from registry.errors import CorruptBlobError, FolderError, RemoteNotFoundError
from registry.folders.contents import PICKLES, listed
from registry.folders.kinds import PARTS
from registry.manifest import MAX_BYTES
from registry.storage.durable import make_folders, storage_errors, write_file
from registry.storage.files import CHUNK, MANIFEST_NAME, hash_stream

# What a training run leaves behind, which is no part of an adapter.
_NOT_FETCHED = (
    *(f"*{suffix}" for suffix in PICKLES if suffix != ".bin"),
    "training_args.bin",
    "checkpoint-*/*",
    ".*",
    "*/.*",
)


def fetch(hub: HfApi | None, address: RemoteAddress) -> Path:
    """Return the folder of a revision in the client's cache, every byte of it checked.

    Args:
        hub: The client; None to take what is in the cache.
        address: A repository and a revision.

    Raises:
        RemoteNotFoundError: The repository goes by another name now.
        FolderError: It holds no adapter; nothing is fetched.
        CorruptBlobError: The hub sends bytes that are not those of its own hash.
    """
    repository, revision = address.repository, address.revision
    assert repository is not None
    if hub is not None:
        _require_adapter(hub, address)
    snapshot = Path(
        snapshot_download(
            repository,
            revision=revision,
            endpoint=address.endpoint,
            token=hub.token if hub else False,
            cache_dir=cache_of(address.endpoint),
            ignore_patterns=list(_NOT_FETCHED),
            local_files_only=hub is None,
        )
    )
    hashes = {} if hub is None else _hashes(hub, repository, snapshot.name)
    for path in sorted(path for path in snapshot.rglob("*") if path.is_file()):
        name = path.relative_to(snapshot).as_posix()
        # Offline there is only the name of the blob, which is its hash where the system has links.
        expected = hashes.get(name) or path.resolve().name
        if _is_intact(path, expected):
            continue
        _forget(path)
        if hub is not None:
            hf_hub_download(
                repository,
                name,
                revision=snapshot.name,
                endpoint=address.endpoint,
                token=hub.token,
                cache_dir=cache_of(address.endpoint),
                force_download=True,
            )
            if _is_intact(path, expected):
                continue
            _forget(path)
        raise CorruptBlobError(
            f"{address.url}: {name} is not the file that its hash promises, so nothing was "
            "registered. Run it again; if it stays so, tell the owner of the repository.",
            name,
        )
    return snapshot


def read_manifest(snapshot: Path, address: RemoteAddress) -> Manifest | None:
    """Return the manifest of a snapshot, None if hubkit did not make its repository.

    Raises:
        ManifestError: It is malformed.
    """
    path = snapshot / MANIFEST_NAME
    if not path.is_file():
        return None
    with storage_errors("read", path), path.open("rb") as stream:
        return Manifest.from_json(stream.read(MAX_BYTES + 1), f"{address.url}: {MANIFEST_NAME}")


def copy_version(snapshot: Path, manifest: Manifest, folder: Path, address: RemoteAddress) -> None:
    """Write the files of a manifest and the manifest to a folder, each checked as it is copied.

    Raises:
        FolderError: The snapshot lacks one.
        CorruptBlobError: One has other bytes.
    """
    for path, expected in manifest.files.items():
        source, target = snapshot / path_there(path), folder / path
        if not source.is_file():
            raise FolderError(
                f"{address.url} lacks {path_there(path)}, which its {MANIFEST_NAME} lists. "
                "Publish the version again from where it was made.",
                path,
            )
        with storage_errors("copy", source):
            make_folders(target.parent)
            with source.open("rb") as stream, target.open("xb") as file:
                found = hash_stream(stream, most=expected.size, target=file)
        if found != expected:
            raise CorruptBlobError(
                f"{address.url}: {path_there(path)}: {MANIFEST_NAME} says {expected}, found "
                f"{found}. Somebody changed the repository by hand; pull an earlier revision.",
                path,
            )
    write_file(folder / MANIFEST_NAME, manifest.to_json())


def copy_files(snapshot: Path, folder: Path) -> None:
    """Copy what an adapter of another tool may be made of."""
    weights = {part.pickle for part in PARTS}
    for source in sorted(path for path in snapshot.rglob("*") if path.is_file()):
        name = source.relative_to(snapshot).as_posix()
        if name == OWN_CARD or (name.endswith(PICKLES) and name not in weights):
            continue
        with storage_errors("copy", source):
            make_folders((folder / name).parent)
            shutil.copyfile(source, folder / name)


def _require_adapter(hub: HfApi, address: RemoteAddress) -> None:
    """Look at a repository before any of it is fetched: its name, and what it holds."""
    assert address.repository is not None
    try:
        found = hub.model_info(address.repository, revision=address.revision)
    except RevisionNotFoundError as error:
        raise no_revision(hub, address) from error
    if found.id != address.repository:
        raise RemoteNotFoundError(
            f"{address.url} is called {found.id} now. Pull that, if it is what you mean: a name "
            "that was given up may be taken by someone else.",
            address.url,
        )
    names = sorted(sibling.rfilename for sibling in found.siblings or ())
    known = {MANIFEST_NAME, *(name for part in PARTS for name in (part.config, part.weights))}
    if known.isdisjoint(names):
        raise FolderError(
            f"{address.url} holds no adapter: expected {MANIFEST_NAME}, or a configuration of PEFT "
            f"or AdapterHub such as {PARTS[0].config}; found {listed(names) or 'nothing'}. Check "
            "the name: this may be a base model.",
            address.url,
        )


def _hashes(hub: HfApi, repository: str, commit: str) -> dict[str, str]:
    """What the hub says of the files: SHA-256 of large ones, git's SHA-1 of the others."""
    entries = hub.list_repo_tree(repository, revision=commit, recursive=True)
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _is_intact(path: Path, expected: str) -> bool:
    """Whether a file has a hash: SHA-256 in 64 digits, git's SHA-1 in 40; True for other texts."""
    if len(expected) == 64:
        digest = hashlib.sha256()
    elif len(expected) == 40:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"blob %d\0" % path.stat().st_size)
    else:
        return True
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == expected


def _forget(path: Path) -> None:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
