"""The files of a version, as its manifest lists them.

A commit of another tool has no manifest in it. It has pickled weights where the version has
safetensors.
"""

from starlette.types import ASGIApp

from registry.errors import EntryNotFoundError
from registry.history.commits import Commit
from registry.history.names import version_tag
from registry.history.trees import TreeFile
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.memory import Again
from registry.server.protocol.files import send_file
from registry.storage.files import MANIFEST_NAME, FileInfo


def get_file(hub: Hub, ask: Asking) -> ASGIApp | Again:
    """Send a file of a version, or its manifest."""
    id, number, path = ask.repository.id, ask.params["number"], ask.params["path"]
    commit, info = ask.recall(("version", id, number, path), lambda: _find(hub, ask, number, path))
    return send_file(hub, ask, commit, TreeFile.pointed(path, info))


def _find(hub: Hub, ask: Asking, number: str, path: str) -> tuple[Commit, FileInfo]:
    named = f"{ask.repository.full_name} has no version {number}"
    if not number.isascii() or not number.isdigit():
        raise EntryNotFoundError(f"{named}.", number)
    commit = hub.history.resolve(ask.repository, version_tag(int(number[:18])))
    version = hub.history.version(commit)
    if version is None or str(version.number) != number:
        raise EntryNotFoundError(f"{named}.", number)
    manifest = hub.catalog.store.manifest(version.ref, version.manifest_digest)
    if path == MANIFEST_NAME:
        return commit, FileInfo.of(manifest.to_json())
    if path not in manifest.files:
        raise EntryNotFoundError(f"{named} with a file {path!r}.", path)
    return commit, manifest.files[path]
