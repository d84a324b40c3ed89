"""Sweeps of many cases through one path of the code."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

DATABASES = ("sqlite", "postgresql")


def on_one_each(
    names: str, cases: Iterable[tuple[object, ...]], ids: Iterable[str] | None = None
) -> pytest.MarkDecorator:
    """Parametrise a test that uses a registry, with each case on one of the databases, in turn.

    `make torture` has each case on both.

    Args:
        names: Those of the arguments, as in `pytest.mark.parametrize`.
        cases: Their values.
        ids: What the cases are called; default: the first value of each.
    """
    called = None if ids is None else [*ids]
    rows = []
    for at, case in enumerate(cases):
        for turn, database in enumerate(DATABASES):
            name = str(case[0]) if called is None else called[at]
            marks = () if at % len(DATABASES) == turn else (pytest.mark.torture,)
            rows.append(pytest.param(database, *case, id=f"{database}-{name}", marks=marks))
    return pytest.mark.parametrize(f"database, {names}", rows, indirect=["database"])
