"""The conditions that queries for adapters share."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from registry.errors import InvalidNameError
from registry.tables.listings import base_name, fold_family
from registry.tables.models import LISTINGS, METRICS, REPOSITORIES, REVISIONS
from registry.tables.reader import Reader
from registry.tables.versions import VersionSelect, select_versions

_FINGERPRINT_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_THRESHOLD = re.compile(r"\s*([^<>=]+?)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_Comparison = Callable[[ColumnElement[float], float], ColumnElement[bool]]
_COMPARISONS: dict[str, _Comparison] = {
    ">=": lambda column, value: column >= value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    "<": lambda column, value: column < value,
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound on a metric.

    Attributes:
        metric: The metric's name.
        comparison: ``>=``, ``>``, ``<=`` or ``<``.
        value: The bound, in the metric's unit.
    """

    metric: str
    comparison: str
    value: float

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """Read ``accuracy>=0.9``.

        Raises:
            InvalidNameError: `text` is not a bound.
        """
        found = _THRESHOLD.fullmatch(text)
        try:
            if found:
                return cls(found[1], found[2], float(found[3]))
        except ValueError:
            pass
        raise InvalidNameError(
            f"A bound on a metric is written like accuracy>=0.9, not {text!r}: a metric's name, "
            "one of >=, >, <= and <, and a number.",
            text,
        )


def is_measured(dataset: str | None, threshold: Threshold | None) -> ColumnElement[bool]:
    """Return the condition that an adapter was measured on a data set, or that a bound holds there.

    Args:
        dataset: The data set; None for any.
        threshold: The bound; None for any value.
    """
    conditions = [METRICS.c.revision_id == LISTINGS.c.revision_id]
    if dataset is not None:
        conditions.append(METRICS.c.dataset == dataset)
    if threshold is not None:
        compare = _COMPARISONS[threshold.comparison]
        conditions += [
            METRICS.c.name == threshold.metric,
            compare(METRICS.c.value, threshold.value),
        ]
    return exists().where(and_(*conditions))


def has_base(connection: Connection, base: str) -> ColumnElement[bool] | None:
    """Return the condition that an adapter is for a base model.

    Only the meanings of `base` that some adapter has are in it, so that a page is a walk along one
    index.

    Args:
        connection: A transaction.
        base: An id or the end of it, a family, or at least 8 digits of a fingerprint.

    Returns:
        None if no adapter is for such a base model.
    """
    name, fingerprint = base_name(base), LISTINGS.c.base_fingerprint
    is_name = and_(
        LISTINGS.c.base_name == name,
        or_(LISTINGS.c.base_model == base, LISTINGS.c.base_name == base),
    )
    is_family = LISTINGS.c.base_family == fold_family(base)
    first = last = None
    if not _FINGERPRINT_PREFIX.fullmatch(base):
        named, of_family = connection.execute(
            select(exists().where(is_name), exists().where(is_family))
        ).one()
    else:
        # A range rather than LIKE, which SQLite answers without the index.
        within = fingerprint.between(base, f"{base}g")
        lowest, highest = (
            select(end(fingerprint)).where(within).scalar_subquery() for end in (func.min, func.max)
        )
        named, of_family, first, last = connection.execute(
            select(exists().where(is_name), exists().where(is_family), lowest, highest)
        ).one()
    meant = []
    if named:
        meant.append(is_name)
    if of_family:
        meant.append(is_family)
    if first is not None:
        meant.append(fingerprint == first if first == last else fingerprint.between(first, last))
    return or_(*meant) if meant else None


def may_read(reader: Reader) -> ColumnElement[bool]:
    """Return the condition that a reader may read an adapter on a hub."""
    return exists().where(REPOSITORIES.c.id == LISTINGS.c.repository_id, reader.readable)


def versions_of(page: VersionSelect, *, extra: tuple[str, ...] = ()) -> VersionSelect:
    """Select the versions of a page, the highest key first; the page is a query within.

    Args:
        page: Selects ``revision_id`` and the ``key`` it is sorted by.
        extra: Columns of `page` to select after those of the versions.
    """
    rows = page.subquery()
    statement = (
        select_versions()
        .add_columns(*(rows.c[name] for name in extra))
        .join(rows, rows.c.revision_id == REVISIONS.c.id)
    )
    return statement.order_by(rows.c.key.desc(), rows.c.revision_id.desc())
