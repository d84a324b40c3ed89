"""Doing again, in a new database, what the entries of a log tell."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from registry.errors import CorruptBlobError, HubkitError, ManifestError, NotFoundError
from registry.log.entry import Entry
from registry.manifest import MAX_BYTES, Manifest
from registry.refs import AdapterRef
from registry.storage.blobs import BlobStore
from registry.storage.files import MANIFEST_NAME
from registry.tables.edit import delete_adapter, drop_alias, point_alias, set_yank
from registry.tables.origins import set_origin
from registry.tables.record import Publication, record_version, reserve_number


class Replay:
    """Applies entries, and collects what cannot be done again.

    Args:
        blobs: Where the manifests are.
        entries: All entries that there will be, to know which adapters are deleted later: the
            bytes of those may be gone, and are not missed.
    """

    def __init__(self, blobs: BlobStore, entries: Iterable[Entry]) -> None:
        """Look for deletions."""
        self._blobs = blobs
        self._deleted = {
            AdapterRef.parse(entry.name).folded: entry.sequence
            for entry in entries
            if entry.action == "delete"
        }
        self.problems: list[str] = []

    def apply(self, connection: Connection, entry: Entry) -> None:
        """Do what an entry tells; what cannot be done becomes one of the `problems`."""
        if not entry.name:
            return
        ref = AdapterRef.parse(entry.name)
        try:
            with connection.begin_nested():
                self._apply(connection, entry, ref, dict(entry.details))
        except (HubkitError, KeyError, TypeError, ValueError) as error:
            if not isinstance(error, NotFoundError):  # of what could not be published, and is told
                self.problems.append(f"Entry {entry.sequence} ({entry.action} {ref}): {error}")

    def _apply(
        self, connection: Connection, entry: Entry, ref: AdapterRef, details: dict[str, Any]
    ) -> None:
        match entry.action:
            case "publish":
                self._publish(connection, entry, ref, details)
            case "alias":
                point_alias(connection, ref.at(details["number"]), details["alias"])
            case "unalias":
                drop_alias(connection, ref, details["alias"])
            case "yank":
                at = datetime.fromisoformat(details["yanked_at"])
                set_yank(connection, ref.at(details["number"]), at, details["reason"])
            case "unyank":
                set_yank(connection, ref.at(details["number"]), None, None)
            case "delete":
                delete_adapter(connection, ref, datetime.fromisoformat(details["deleted_at"]))
            case _:
                pass

    def _publish(
        self, connection: Connection, entry: Entry, ref: AdapterRef, details: dict[str, Any]
    ) -> None:
        created_at, number = datetime.fromisoformat(details["created_at"]), details["number"]
        # Whatever becomes of it, its name and number are taken.
        reserve_number(connection, ref, number, created_at)
        if self._deleted.get(ref.folded, 0) > entry.sequence:
            return
        label = f"{ref.at(number)}: {MANIFEST_NAME}"
        try:
            content = self._blobs.read(details["digest"], most=MAX_BYTES, label=label)
            manifest = Manifest.from_json(content, label)
        except (CorruptBlobError, ManifestError) as error:
            self.problems.append(f"{ref.at(number)} cannot be brought back. {error}")
            return
        yanked_at = details.get("yanked_at")
        publication = Publication(
            author=details["author"],
            message=details["message"],
            created_at=created_at,
            number=number,
            yanked_at=datetime.fromisoformat(yanked_at) if yanked_at else None,
            yank_reason=details.get("yank_reason"),
            origin=details.get("origin"),
        )
        revision, is_new = record_version(connection, ref, manifest, publication)
        if not is_new and publication.origin is not None:
            # Of a database that was taken back to before there were a log and origins.
            set_origin(connection, revision, publication.origin)
