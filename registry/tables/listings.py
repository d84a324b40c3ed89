"""Keeping the listings: one row an adapter, for the newest version that is not yanked."""

import re

from sqlalchemy import Connection, delete, insert, select, update

from registry.refs import AdapterRef
from registry.tables.models import DOWNLOADS, LISTINGS, METRICS, REPOSITORIES, REVISIONS

NO_SCORE = float("-inf")
"""The score of an adapter without a metric that is better when higher: lower than any other."""

# Built once, as in `registry.tables.record`.
_ADD_LISTING = insert(LISTINGS)

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
# The end of a class's name in transformers, such as ForSequenceClassification.
_CLASS_ENDING = re.compile(
    r"(?:LMHead|Double|Encoder|Decoder)*(?:Pre[A-Z]\w*)?(?:Model|For[A-Z].*)$"
)


def base_name(base_model: str) -> str:
    """Return the last component of a base model's id: what people call it."""
    return base_model.rstrip("/").rpartition("/")[2] or base_model


def base_family(architecture: str | None) -> str | None:
    """Return the family of a class of transformers: ``xlmroberta`` for ``XLMRobertaModel``."""
    if architecture is None:
        return None
    return fold_family(_CLASS_ENDING.sub("", architecture)) or fold_family(architecture)


def fold_family(text: str) -> str:
    """Return what spellings of a family have in common: XLM-RoBERTa and xlm_roberta."""
    return re.sub(r"[-_. ]", "", text.lower())[:256]  # lower case may be longer


def list_newest(connection: Connection, repository_id: int) -> None:
    """Bring the listing of an adapter up to date; call it whenever a version comes or is yanked."""
    connection.execute(delete(LISTINGS).where(LISTINGS.c.repository_id == repository_id))
    downloads = (
        select(DOWNLOADS.c.count)
        .where(DOWNLOADS.c.repository_id == repository_id)
        .scalar_subquery()
    )
    score = (
        select(METRICS.c.value)
        .where(METRICS.c.revision_id == REVISIONS.c.id, METRICS.c.higher_is_better)
        .order_by(METRICS.c.position)
        .limit(1)
        .scalar_subquery()
    )
    newest = connection.execute(
        select(
            REVISIONS.c.id,
            REPOSITORIES.c.owner,
            REPOSITORIES.c.folded,
            downloads.label("downloads"),
            score.label("score"),
            *(REVISIONS.c[name] for name in _COPIED),
        )
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(
            REVISIONS.c.repository_id == repository_id,
            REVISIONS.c.number.is_not(None),
            REVISIONS.c.yanked_at.is_(None),
            REPOSITORIES.c.deleted_at.is_(None),
        )
        .order_by(REVISIONS.c.number.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return
    connection.execute(
        _ADD_LISTING,
        {
            "repository_id": repository_id,
            "revision_id": newest.id,
            "owner": None if newest.owner is None else newest.folded.partition("/")[0],
            "score": NO_SCORE if newest.score is None else newest.score,
            "downloads": newest.downloads or 0,
            **{name: newest._mapping[name] for name in _COPIED},
        },
    )


def count_download(connection: Connection, ref: AdapterRef) -> None:
    """Note that a version of an adapter, which must exist, was pulled."""
    repository_id = connection.execute(
        select(REPOSITORIES.c.id).where(REPOSITORIES.c.folded == ref.folded)
    ).scalar_one()
    counted = connection.execute(
        update(DOWNLOADS)
        .where(DOWNLOADS.c.repository_id == repository_id)
        .values(count=DOWNLOADS.c.count + 1)
    )
    if not counted.rowcount:
        connection.execute(insert(DOWNLOADS), {"repository_id": repository_id, "count": 1})
    connection.execute(
        update(LISTINGS)
        .where(LISTINGS.c.repository_id == repository_id)
        .values(downloads=LISTINGS.c.downloads + 1)
    )
