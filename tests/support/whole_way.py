"""The whole way of a task type: trained, published, combined, loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubkit.composing.combine import publish_mix, publish_stack
from hubkit.tasks.rows import Rows
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, Catalog, Version


def job(task_type: str, rows: Rows, name: str = "a", **settings: Any) -> Job:
    """A short run that is validated with the rows that it learns."""
    values = {"epochs": 2, "learning_rate": 1e-2, "batch_size": 4, "max_length": 24, **settings}
    return Job(
        name=AdapterRef.parse(name),
        task="test",
        data=rows,
        validation=rows,
        settings=Settings(**values),
        task_type=task_type,
    )


def often(made: Job, times: int) -> Job:
    """The same, whose epochs have its rows so many times.

    An epoch is measured and saved, which takes longer than steps of this size.
    """
    assert isinstance(made.data, Rows)
    columns = {name: [*values] * times for name, values in made.data.columns.items()}
    return replace(made, data=Rows(made.data.name, columns))


def train_all(
    catalog: Catalog, task_type: str, rows: Rows, base: Path, **settings: Any
) -> Sequence[Version]:
    """Adapters of two methods, their fusion, a stack and a mix of them."""
    a = train_adapter(
        catalog, job(task_type, rows, "a", **settings), base=str(base), bottleneck_size=4
    )
    b = train_adapter(
        catalog, job(task_type, rows, "b", **settings), base=str(base), method="lora", rank=2
    )
    refs = [a.ref, b.ref]
    return (
        *(a, b, train_fusion(catalog, job(task_type, rows, "fused", **settings), refs=refs)),
        publish_stack(catalog, AdapterRef.parse("stacked"), refs),
        publish_mix(catalog, AdapterRef.parse("mixed"), refs, weights=[0.5, 0.5]),
    )
