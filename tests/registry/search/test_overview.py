"""What there is to look for: what public adapters have in common, and nothing of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Catalog, Folder, Version
from registry.search import overview
from registry.search.overview import Base, Board, Overview, find_overview
from tests.support.measurements import measurement
from tests.support.people import with_people

BERT = {"id": "google/bert", "architecture": "BertModel", "hidden_size": 8, "num_layers": 2}
MINI = "sentence-transformers/all-MiniLM-L6-v2"
ROWS = "5e" * 32


def metric(value: float, **fields: Any) -> dict[str, Any]:
    facts = {"dataset": "imdb", "split": "test", "name": "accuracy", "higher_is_better": True}
    return {**facts, "value": value, **fields}


@pytest.fixture
def publish(catalog: Catalog, make_folder: Callable[..., Folder]) -> Callable[..., Version]:
    """Publish a version in a public repository of alice, or in a private one."""
    with_people(catalog)

    def make(name: str, *, private: bool = False, **fields: Any) -> Version:
        ref = AdapterRef.parse(name)
        version = catalog.publish(ref, make_folder(**fields))
        repository = catalog.history.find("model", ref)
        assert repository is not None
        if not private and repository.account_id is not None:
            catalog.history.set_visibility(repository, "public", "alice")
        return version

    return make


def test_an_empty_registry_has_nothing(catalog: Catalog) -> None:
    assert find_overview(catalog.database) == Overview()


def test_what_is_most_frequent_comes_first(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    publish("alice/a", base_model=BERT, task_type="ranking", method={"type": "lora"})
    publish("alice/b", base_model=BERT, task_type="fill-mask", method={"type": "lora"})
    publish("alice/c", base_model=BERT, task_type="fill-mask")
    publish("alice/d", task_type="ranking", method={"type": "lora"})
    publish("alice/e", task_type="ranking")
    publish("alice/f")
    found = find_overview(catalog.database)
    assert found.bases == (
        Base("google/bert", 3, ("fill-mask", "ranking")),
        Base(MINI, 3, ("ranking",)),
    )
    assert found.task_types == ("ranking", "fill-mask")
    assert found.methods == ("lora", "seq_bn")


def test_nothing_is_told_of_what_is_not_public(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    hidden = {"base_model": BERT, "task_type": "ranking", "method": {"type": "lora"}}
    publish("alice/a", private=True, **hidden, metrics=[metric(0.5)])
    publish("nobody/a", **hidden, metrics=[metric(0.5)])
    publish("without-owner", **hidden, metrics=[metric(0.5)])
    deleted = publish("alice/b", **hidden, metrics=[metric(0.5)])
    catalog.delete(deleted.ref.repository)
    assert find_overview(catalog.database) == Overview()


def test_leaderboards_are_known_by_base_model_task_data_set_and_metric(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    both = [metric(0.5), metric(0.5, split="dev"), metric(1.0, name="f1")]
    publish("alice/a", task="sentiment", metrics=both)
    publish("alice/b", task="sentiment", metrics=[metric(0.6)])
    publish("alice/c", base_model=BERT, metrics=[metric(0.7)])
    assert find_overview(catalog.database).boards == (
        Board(MINI, "sentiment", "imdb", "accuracy", 2),
        Board(BERT["id"], None, "imdb", "accuracy", 1),
        Board(MINI, "sentiment", "imdb", "f1", 1),
    )


def test_what_was_recorded_counts_with_what_training_measured_on_the_same_rows(
    catalog: Catalog, publish: Callable[..., Version]
) -> None:
    known = f"imdb#{ROWS[:12]}"
    trained = publish("alice/a", metrics=[metric(0.5, dataset=known)])
    later = publish("alice/b")
    for version in (trained, later):
        catalog.record(version.ref, [measurement(dataset="imdb", data_sha256=ROWS)])
    assert find_overview(catalog.database).boards == (Board(MINI, None, known, "accuracy", 2),)


def test_an_older_version_does_not_count(catalog: Catalog, publish: Callable[..., Version]) -> None:
    publish("alice/a", base_model=BERT, metrics=[metric(0.5)])
    publish("alice/a")
    found = find_overview(catalog.database)
    assert [base.name for base in found.bases] == [MINI]
    assert found.boards == ()


def test_only_so_many_are_kept(
    catalog: Catalog, publish: Callable[..., Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST", 1)
    monkeypatch.setattr(overview, "MOST_BOARDS", 1)
    publish("alice/a", task_type="ranking", metrics=[metric(0.5), metric(1.0, name="f1")])
    publish("alice/b", base_model=BERT, task_type="fill-mask", method={"type": "lora"})
    found = find_overview(catalog.database)
    assert [len(part) for part in (found.bases, found.task_types, found.methods)] == [1, 1, 1]
    assert len(found.boards) == 1
