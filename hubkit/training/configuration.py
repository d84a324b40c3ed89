"""The file of a run's settings that repeats it, written beside its result."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from hubkit.training.job import Job

CONFIGURATION_NAME = "train.yaml"
"""What the file is called in a version."""


def configuration(job: Job, **more: Any) -> bytes:
    """A YAML file with all that the user chose for a run.

    Args:
        job: What was trained on, and how. A ``name`` in its source is that of the whole run, where
            the job is one of many.
        more: The rest, such as ``base`` and ``method``; what is None or empty is left out.
    """
    validation = "none" if job.validation == 0 else job.validation
    chosen = {
        **more,
        "data": job.data.name,
        "validation": validation if isinstance(validation, str | float) else None,
        **{"name": str(job.name), **job.source},
        "task": job.task,
        "task_type": job.task_type,
        "source_language": job.source_language,
        "target_language": job.target_language,
        **asdict(job.settings),
        "tags": job.tags,
        "description": job.description,
        "head": None if job.head == "transformers" else job.head,
    }
    said = {name: _plain(value) for name, value in chosen.items()}
    kept = {name: value for name, value in said.items() if value not in (None, "", [], {})}
    text: str = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return text.encode()


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value
