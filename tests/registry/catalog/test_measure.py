from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from registry import AdapterRef, Catalog, Folder, Measurement
from registry.errors import RefNotFoundError
from registry.search.search import search
from tests.support.measurements import measurement

ONE = AdapterRef.parse("team/one")
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(day: int, **fields: Any) -> Measurement:
    return measurement(measured_at=START + timedelta(days=day), **fields)


@pytest.fixture
def one(catalog: Catalog, make_folder: Callable[..., Folder]) -> AdapterRef:
    return catalog.publish(ONE, make_folder()).ref


def values(catalog: Catalog, ref: AdapterRef = ONE) -> list[float]:
    version = catalog.resolve(ref)
    return [one.value for one in catalog.measurements([version]).get(version.ref, ())]


def test_a_measurement_stands_beside_the_version_which_stays_as_it_is(
    catalog: Catalog, one: AdapterRef
) -> None:
    before = catalog.resolve(one)
    told = [at(1), at(1, metric="mae", higher_is_better=False, low=None, high=None)]
    assert catalog.record(ONE, told) == told
    assert catalog.resolve(one) == before
    assert catalog.measurements([before]) == {one: tuple(told)}
    with catalog.database.read() as connection:
        entry = [*catalog.log.entries(connection)][-1]
    assert (entry.action, entry.name, entry.details["number"]) == ("measure", "team/one", 1)


def test_the_same_value_is_recorded_once_and_another_stands_beside_it_the_newest_first(
    catalog: Catalog, one: AdapterRef
) -> None:
    assert catalog.record(one, [at(1, value=0.5)])
    assert catalog.record(one, [at(2, value=0.5, hubkit="2.0")]) == []
    assert catalog.record(one, [at(3, value=0.25, hubkit="2.0")])
    assert catalog.record(one, [at(4, value=0.5, hubkit="3.0")])
    assert values(catalog) == [0.5, 0.25, 0.5]
    assert catalog.record(one, [at(4, value=0.5, data_sha256="6f" * 32)])  # on other rows


def test_what_is_recorded_belongs_to_one_version(
    catalog: Catalog, one: AdapterRef, make_folder: Callable[..., Folder]
) -> None:
    catalog.record(one, [at(1)])
    second = catalog.publish(ONE, make_folder())
    assert catalog.measurements([second]) == {}
    with pytest.raises(RefNotFoundError):
        catalog.record(AdapterRef.parse("nobody"), [at(1)])


def test_deletion_takes_measurements_along(catalog: Catalog, one: AdapterRef) -> None:
    version = catalog.resolve(one)
    catalog.record(one, [at(1)])
    catalog.delete(ONE)
    assert catalog.measurements([version]) == {}


def test_a_pull_brings_measurements_along_and_a_rerun_changes_nothing(
    catalog: Catalog, other_catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    there = other_catalog.publish(ONE, make_folder())
    told = [at(1, value=0.5), at(2, value=0.25), at(3, value=0.5)]
    other_catalog.record(there.ref, told)
    for _ in range(2):
        pulled = catalog.pull(there.ref, other_catalog)
        assert catalog.measurements([pulled]) == {pulled.ref: tuple(told[::-1])}
    renamed = catalog.pull(there.ref, other_catalog, name=AdapterRef.parse("mine"))
    assert values(catalog, renamed.ref) == [0.5, 0.25, 0.5]


def test_score_is_what_was_measured_last_before_the_metrics_of_training(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    metric = {"dataset": "d", "split": "validation", "name": "accuracy", "higher_is_better": True}
    for name, value in (("low", 0.6), ("high", 0.9)):
        catalog.publish(AdapterRef.parse(name), make_folder(metrics=[metric | {"value": value}]))

    def ranked() -> list[str]:
        return [version.ref.name for version in search(catalog, sort="score").items]

    assert ranked() == ["high", "low"]
    catalog.record(AdapterRef.parse("high"), [at(1, value=0.5)])
    assert ranked() == ["low", "high"]
    catalog.record(AdapterRef.parse("high"), [at(2, value=0.7), at(2, metric="f1", value=0.1)])
    assert ranked() == ["high", "low"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")},
        {"rows": 0},
        {"data_sha256": "5E" * 32},
        {"dataset": "a\x1b[2J"},
        {"measured_at": datetime(2026, 1, 1)},
    ],
)
def test_a_measurement_is_what_its_fields_allow(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        measurement(**wrong)
