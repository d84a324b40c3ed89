"""Keeping the listings: one row an adapter, for the newest version that is not yanked."""

import re

from sqlalchemy import BindParameter, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from registry.database.prepared import Prepared, Transaction
from registry.refs import AdapterRef
from registry.tables.models import table

LISTINGS = table("listings")
_REPOSITORIES = table("repositories")
_REVISIONS = table("revisions")
_METRICS = table("metrics")
_DOWNLOADS = table("downloads")

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
_REPOSITORY: BindParameter[int] = bindparam("repository")
_UNLIST = Prepared(delete(LISTINGS).where(LISTINGS.c.repository_id == _REPOSITORY))
_NEWEST = Prepared(
    select(
        _REPOSITORIES.c.owner,
        _REPOSITORIES.c.folded,
        _REVISIONS.c.id,
        select(_DOWNLOADS.c.count)
        .where(_DOWNLOADS.c.repository_id == _REPOSITORIES.c.id)
        .scalar_subquery(),
        *(_REVISIONS.c[name] for name in _COPIED),
    )
    .join(_REPOSITORIES, _REPOSITORIES.c.id == _REVISIONS.c.repository_id)
    .where(
        _REVISIONS.c.repository_id == _REPOSITORY,
        _REVISIONS.c.number.is_not(None),
        _REVISIONS.c.yanked_at.is_(None),
        _REPOSITORIES.c.deleted_at.is_(None),
    )
    .order_by(_REVISIONS.c.number.desc())
    .limit(1)
)
_SCORE = Prepared(
    select(_METRICS.c.value)
    .where(_METRICS.c.revision_id == bindparam("revision"), _METRICS.c.higher_is_better)
    .order_by(_METRICS.c.position)
    .limit(1)
)
_LIST = Prepared(insert(LISTINGS))
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
    return re.sub(r"[-_. ]", "", text.lower())


def list_newest(session: Session, repository_id: int) -> None:
    """Bring the listing of an adapter up to date; call it whenever a version comes or is yanked."""
    transaction = Transaction.of(session)
    _UNLIST.rows(transaction, repository=repository_id)
    for owner, folded, revision_id, downloads, *copied in _NEWEST.rows(
        transaction, repository=repository_id
    ):
        scores = _SCORE.rows(transaction, revision=revision_id)
        _LIST.rows(
            transaction,
            repository_id=repository_id,
            revision_id=revision_id,
            owner=None if owner is None else folded.partition("/")[0],
            score=scores[0][0] if scores else NO_SCORE,
            downloads=downloads or 0,
            **dict(zip(_COPIED, copied, strict=True)),
        )


def count_download(session: Session, ref: AdapterRef) -> None:
    """Note that a version of an adapter, which must exist, was pulled."""
    repository_id = session.execute(
        select(_REPOSITORIES.c.id).where(_REPOSITORIES.c.folded == ref.folded)
    ).scalar_one()
    counted = session.execute(
        update(_DOWNLOADS)
        .where(_DOWNLOADS.c.repository_id == repository_id)
        .values(count=_DOWNLOADS.c.count + 1)
    )
    if counted.rowcount == 0:  # type: ignore[attr-defined]
        session.execute(insert(_DOWNLOADS).values(repository_id=repository_id, count=1))
    session.execute(
        update(LISTINGS)
        .where(LISTINGS.c.repository_id == repository_id)
        .values(downloads=LISTINGS.c.downloads + 1)
    )
