"""The parts that queries for adapters share."""

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from registry.database.prepared import Prepared, Transaction
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


def is_measured(on_dataset: bool, comparison: str | None) -> ColumnElement[bool]:
    """Return that an adapter was measured on ``dataset``, or that a bound holds there.

    Args:
        on_dataset: Whether it must be on that data set.
        comparison: How the value of the metric called ``metric`` compares with ``bound``; None
            if any value will do.
    """
    conditions = [_METRICS.c.revision_id == LISTINGS.c.revision_id]
    if on_dataset:
        conditions.append(_METRICS.c.dataset == bindparam("dataset"))
    if comparison is not None:
        compare = _SQL_COMPARISONS[comparison]
        conditions += [
            _METRICS.c.name == bindparam("metric"),
            compare(_METRICS.c.value, bindparam("bound", type_=Double)),
        ]
    return exists().where(and_(*conditions))


Meaning: TypeAlias = Literal["name", "family", "fingerprint", "fingerprints"]
"""What a base model can be called by: its id or the end of it, its family, or digits of one
fingerprint or of several."""

_MEANINGS: dict[Meaning, ColumnElement[bool]] = {
    "name": and_(
        LISTINGS.c.base_name == bindparam("base_name"),
        or_(LISTINGS.c.base_model == bindparam("base"), LISTINGS.c.base_name == bindparam("base")),
    ),
    "family": LISTINGS.c.base_family == bindparam("family"),
    "fingerprint": LISTINGS.c.base_fingerprint == bindparam("first"),
    # A range rather than LIKE, which SQLite answers without the index.
    "fingerprints": LISTINGS.c.base_fingerprint.between(bindparam("first"), bindparam("last")),
}
_IS_NAME, _IS_FAMILY = (exists().where(_MEANINGS[meaning]) for meaning in ("name", "family"))
_WITHIN = LISTINGS.c.base_fingerprint.between(bindparam("base"), bindparam("after_base"))
_NAMES = Prepared(select(_IS_NAME, _IS_FAMILY))
_NAMES_AND_DIGESTS = Prepared(
    select(
        _IS_NAME,
        _IS_FAMILY,
        *(
            select(bound(LISTINGS.c.base_fingerprint)).where(_WITHIN).scalar_subquery()
            for bound in (func.min, func.max)
        ),
    )
)


def find_base(transaction: Transaction, base: str) -> tuple[tuple[Meaning, ...], dict[str, str]]:
    """Find out what `base` is, so that the page is a walk along one index rather than several.

    Returns:
        What it means here, nothing if there is no such base model; and the values that `has_base`
        leaves open.
    """
    values = {"base": base, "base_name": base_name(base), "family": fold_family(base)}
    if not _FINGERPRINT_PREFIX.fullmatch(base):
        ((is_name, is_family),) = _NAMES.rows(transaction, **values)
        first = last = None
    else:
        ((is_name, is_family, first, last),) = _NAMES_AND_DIGESTS.rows(
            transaction, after_base=f"{base}g", **values
        )
    answers: dict[Meaning, bool] = {
        "name": is_name,
        "family": is_family,
        "fingerprint": first is not None and first == last,
        "fingerprints": first != last,
    }
    meant = tuple(meaning for meaning, is_meant in answers.items() if is_meant)
    return meant, values if first is None else values | {"first": first, "last": last}


def has_base(meanings: tuple[Meaning, ...]) -> ColumnElement[bool]:
    """Return that an adapter is for the base model that `find_base` found."""
    return or_(*(_MEANINGS[meaning] for meaning in meanings))


def versions_of(
    page: "Select[Any]", *, ascending: bool = False, extra: tuple[str, ...] = ()
) -> "Select[Any]":
    """Select the versions of a page in its order; the page itself is found before they are.

    Args:
        page: Selects ``revision_id`` and the ``key`` it is sorted by.
        ascending: Whether the lowest key comes first; default: the highest.
        extra: Columns of `page` to select after those of the versions.
    """
    rows = page.subquery()
    statement = (
        select_versions()
        .add_columns(*(rows.c[name] for name in extra))
        .join(rows, rows.c.revision_id == REVISIONS.c.id)
    )
    order = (rows.c.key, rows.c.revision_id)
    return statement.order_by(*(c.asc() if ascending else c.desc() for c in order))
