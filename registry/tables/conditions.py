"""The parts that queries for adapters share."""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, false, func, or_, select

from registry.errors import InvalidNameError
from registry.tables.listings import LISTINGS, base_name, fold_family
from registry.tables.models import table
from registry.tables.versions import REVISIONS, select_versions

_METRICS = table("metrics")
_FINGERPRINT_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_THRESHOLD = re.compile(r"\s*([^<>=]+?)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_SQL_COMPARISONS: dict[str, Any] = {
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
            InvalidNameError: `text` is no such thing.
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


def is_measured(metric: str | None, dataset: str | None) -> ColumnElement[bool]:
    """Return that an adapter was measured on a data set, and that a bound holds there."""
    conditions = [_METRICS.c.revision_id == LISTINGS.c.revision_id]
    if dataset is not None:
        conditions.append(_METRICS.c.dataset == dataset)
    if metric is not None:
        threshold = Threshold.parse(metric)
        compare = _SQL_COMPARISONS[threshold.comparison]
        conditions += [
            _METRICS.c.name == threshold.metric,
            compare(_METRICS.c.value, threshold.value),
        ]
    return exists().where(and_(*conditions))


def has_base(connection: Connection, base: str) -> ColumnElement[bool]:
    """Find out what `base` is, so that the page is a walk along one index rather than several."""
    named = and_(
        LISTINGS.c.base_name == base_name(base),
        or_(LISTINGS.c.base_model == base, LISTINGS.c.base_name == base),
    )
    kinds = [named, LISTINGS.c.base_family == fold_family(base)]
    columns: list[Any] = [exists().where(kind) for kind in kinds]
    if _FINGERPRINT_PREFIX.fullmatch(base):
        # A range rather than LIKE, which SQLite answers without the index.
        digest = LISTINGS.c.base_fingerprint
        within = (digest >= base) & (digest < f"{base}g")
        columns += [select(f(digest)).where(within).scalar_subquery() for f in (func.min, func.max)]
    answers = connection.execute(select(*columns)).one()
    meant = [kind for kind, there in zip(kinds, answers, strict=False) if there]
    if len(answers) > 2 and answers[2] is not None:
        first, last = answers[2], answers[3]
        meant.append(digest == first if first == last else within)
    return or_(false(), *meant)


def versions_of(
    page: "Select[Any]", *, ascending: bool = False, extra: str | None = None
) -> "Select[Any]":
    """Select the versions of a page in its order; the page itself is found before they are."""
    rows = page.subquery()
    statement = (
        select_versions()
        .add_columns(rows.c.key, *([rows.c[extra]] if extra else []))
        .join(rows, rows.c.revision_id == REVISIONS.c.id)
    )
    order = (rows.c.key, rows.c.revision_id)
    return statement.order_by(*(c.asc() if ascending else c.desc() for c in order))
