"""Changes of what is published: each with its entry in the log, in one write transaction."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from registry.log.log import Log
from registry.refs import AdapterRef
from registry.tables.changing import delete_adapter, drop_alias, point_alias, set_yank
from registry.tables.versions import Version, load_version


def set_alias(session: Session, log: Log, ref: AdapterRef, alias: str) -> Version:
    """As `Catalog.set_alias`."""
    revision, new = point_alias(session, ref, alias)
    if new:
        log.append(session, "alias", ref, alias=alias, number=revision.number)
    return load_version(session, revision.id)


def remove_alias(session: Session, log: Log, ref: AdapterRef, alias: str) -> None:
    """As `Catalog.remove_alias`."""
    drop_alias(session, ref, alias)
    log.append(session, "unalias", ref, alias=alias)


def yank(session: Session, log: Log, ref: AdapterRef, reason: str) -> Version:
    """As `Catalog.yank`."""
    at = datetime.now(UTC)
    revision = set_yank(session, ref, at, reason)
    details = {"number": revision.number, "reason": reason, "yanked_at": at.isoformat()}
    log.append(session, "yank", ref, **details)
    return load_version(session, revision.id)


def unyank(session: Session, log: Log, ref: AdapterRef) -> Version:
    """As `Catalog.unyank`."""
    revision = set_yank(session, ref, None, None)
    log.append(session, "unyank", ref, number=revision.number)
    return load_version(session, revision.id)


def delete(session: Session, log: Log, ref: AdapterRef) -> list[int]:
    """As `Catalog.delete`."""
    at = datetime.now(UTC)
    numbers = delete_adapter(session, ref, at)
    log.append(session, "delete", ref, numbers=numbers, deleted_at=at.isoformat())
    return numbers
