"""The listings: one row for each adapter, with its newest version that is not yanked."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from registry.refs import DELETED, AdapterRef
from registry.tables.models import (
    DOWNLOADS,
    HUB_LISTINGS,
    LISTINGS,
    MEASUREMENTS,
    METRICS,
    REPOSITORIES,
    REVISIONS,
)

NO_SCORE = float("-inf")
"""The score of an adapter without a metric that is better when higher: lower than any other."""

_COPIED = (
    "kind",
    "method",
    "base_model",
    "base_name",
    "base_family",
    "base_fingerprint",
    "task",
    "task_type",
    "language",
    "license",
    "size",
)
# Built once, as in `registry.tables.record`.
_ADD_LISTING = insert(LISTINGS)
_VERSIONS = REVISIONS.alias()
_NEWEST = (
    select(
        REVISIONS.c.id,
        REVISIONS.c.repository_id,
        REPOSITORIES.c.owner,
        REPOSITORIES.c.folded,
        select(DOWNLOADS.c.count)
        .where(DOWNLOADS.c.repository_id == REPOSITORIES.c.id)
        .scalar_subquery()
        .label("downloads"),
        func.coalesce(
            select(MEASUREMENTS.c.value)
            .where(MEASUREMENTS.c.revision_id == REVISIONS.c.id, MEASUREMENTS.c.higher_is_better)
            .order_by(MEASUREMENTS.c.measured_at.desc(), MEASUREMENTS.c.position)
            .limit(1)
            .scalar_subquery(),
            select(METRICS.c.value)
            .where(METRICS.c.revision_id == REVISIONS.c.id, METRICS.c.higher_is_better)
            .order_by(METRICS.c.position)
            .limit(1)
            .scalar_subquery(),
        ).label("score"),
        *(REVISIONS.c[name] for name in _COPIED),
    )
    .select_from(REPOSITORIES)
    .join(
        REVISIONS,
        REVISIONS.c.id
        == select(_VERSIONS.c.id)
        .where(
            _VERSIONS.c.repository_id == REPOSITORIES.c.id,
            _VERSIONS.c.number.is_not(None),
            _VERSIONS.c.yanked_at.is_(None),
        )
        .order_by(_VERSIONS.c.number.desc())
        .limit(1)
        .scalar_subquery(),
    )
    .where(
        REPOSITORIES.c.id.in_(bindparam("ids", expanding=True)),
        REPOSITORIES.c.deleted_at.is_(None),
        # The remains of a deleted adapter are not listed.
        REPOSITORIES.c.owner.is_distinct_from(DELETED),
    )
)

# The end of a class's name in transformers, such as ForSequenceClassification.
_CLASS_ENDING = re.compile(
    r"(?:LMHead|Double|Encoder|Decoder)*(?:Pre[A-Z]\w*)?(?:Model|For[A-Z].*)$"
)


def base_name(base_model: str) -> str:
    """Return the last component of a base model's id, by which people know it."""
    return base_model.rstrip("/").rpartition("/")[2] or base_model


def base_family(architecture: str | None) -> str | None:
    """Return the family of a class of transformers: ``xlmroberta`` for ``XLMRobertaModel``."""
    if architecture is None:
        return None
    return fold_family(_CLASS_ENDING.sub("", architecture)) or fold_family(architecture)


def fold_family(text: str) -> str:
    """Return the key of a family: the same for XLM-RoBERTa and xlm_roberta."""
    return re.sub(r"[-_. ]", "", text.lower())[:256]  # lower case may be longer


def list_newest(connection: Connection, repository_id: int) -> None:
    """Update the listing of an adapter; call it whenever a version is added or yanked."""
    connection.execute(delete(LISTINGS).where(LISTINGS.c.repository_id == repository_id))
    newest = newest_listings(connection, [repository_id])
    if newest:
        connection.execute(_ADD_LISTING, newest[repository_id])


def newest_listings(
    connection: Connection, repository_ids: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Return the rows that adapters should have in the listings, by the adapter's id.

    A deleted adapter, its remains, and one whose versions are all yanked have none.
    """
    return {
        row.repository_id: {
            "repository_id": row.repository_id,
            "revision_id": row.id,
            "owner": None if row.owner is None else row.folded.partition("/")[0],
            "score": NO_SCORE if row.score is None else row.score,
            "downloads": row.downloads or 0,
            **{name: row._mapping[name] for name in _COPIED},
        }
        for row in connection.execute(_NEWEST, {"ids": repository_ids})
    }


def count_download(connection: Connection, ref: AdapterRef) -> None:
    """Count a pull of a version of an adapter, which must exist."""
    repository_id = connection.execute(
        select(REPOSITORIES.c.id).where(REPOSITORIES.c.folded == ref.folded)
    ).scalar_one()
    count_downloads(connection, {repository_id: 1})


def count_downloads(connection: Connection, counts: Mapping[int, int]) -> None:
    """Count downloads from repositories, by their ids."""
    for repository_id, count in sorted(counts.items()):
        counted = connection.execute(
            update(DOWNLOADS)
            .where(DOWNLOADS.c.repository_id == repository_id)
            .values(count=DOWNLOADS.c.count + count)
        )
        if not counted.rowcount:
            connection.execute(insert(DOWNLOADS), {"repository_id": repository_id, "count": count})
        for listed in (LISTINGS, HUB_LISTINGS):
            connection.execute(
                update(listed)
                .where(listed.c.repository_id == repository_id)
                .values(downloads=listed.c.downloads + count)
            )
