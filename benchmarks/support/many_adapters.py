"""Rows for a registry with many adapters on a hub, of which 90 of 100 are private.

They are like those of a real hub in what pages go by: a few base models have many adapters and
many have a few, one type of task is rare, and each adapter was measured on one of 200 data sets.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table

from registry.history.cards import grams_of
from registry.tables.models import (
    COMMITS,
    HUB_LISTINGS,
    HUB_TAGS,
    LISTINGS,
    METRICS,
    NAME_GRAMS,
    REPOSITORIES,
    REVISIONS,
)

FIRST = 10_000
"""The id of the first row in each table."""

COMMON_BASE, RARE_TASK_TYPE, DATASET = "org/base-1", "ranking", "data-7"

Rows = Mapping[Table, list[dict[str, Any]]]


def visibility_of(number: int) -> str:
    return "public" if number % 10 == 0 else "private"


def rows_of(numbers: Sequence[int], account_id: int, commit: Mapping[str, Any]) -> Rows:
    """The rows of some adapters of `ada`, by table, in the order they can be inserted in.

    Args:
        numbers: Which ones, from 0.
        account_id: The row of `ada`.
        commit: A commit whose tree they all have.
    """
    found: dict[Table, list[dict[str, Any]]] = {
        table: []
        for table in (
            *(REPOSITORIES, REVISIONS, COMMITS, HUB_LISTINGS, HUB_TAGS, NAME_GRAMS, LISTINGS),
            METRICS,
        )
    }
    now = datetime.now(UTC)
    for number in numbers:
        id, chance = FIRST + number, random.Random(number)
        base = f"org/base-{min(int(chance.paretovariate(0.5)), 3000)}"
        what = {
            "kind": "adapter",
            "method": ("seq_bn", "lora", "par_bn")[chance.randrange(3)],
            "base_model": base,
            "base_name": base.partition("/")[2],
            "base_family": "bert",
            "task": ("sentiment", "entities", "topic")[number % 3],
            "task_type": (
                RARE_TASK_TYPE
                if number % 1000 == 0
                else ("text-classification", "token-classification", "summarization")[number % 3]
            ),
            "language": chance.choice(("en", "en", "en", "de", "fr", "sw")),
            "size": 3_000_000,
        }
        common = {"account_id": account_id, "visibility": visibility_of(number), "kind": "model"}
        found[REPOSITORIES].append(
            {
                "id": id,
                "owner": "ada",
                "name": f"r{number}",
                "folded": f"ada/r{number}",
                "created_at": now,
                "next_number": 2,
                **common,
            }
        )
        found[REVISIONS].append(
            {
                "id": id,
                "repository_id": id,
                "number": 1,
                "manifest_digest": f"{number:064x}",
                "author": "ada",
                "message": "",
                "description": "",
                "created_at": now,
                **what,
            }
        )
        found[COMMITS].append(
            {
                **{name: commit[name] for name in ("tree_id", "author", "message")},
                "id": id,
                "repository_id": id,
                "oid": f"{number:040x}",
                "created_at": now,
                "revision_id": id,
            }
        )
        found[HUB_LISTINGS].append(
            {
                "repository_id": id,
                "commit_id": id,
                "library": "adapter-transformers",
                "pipeline_tag": what["task_type"],
                "card": "{}",
                "downloads": 0,
                **common,
            }
        )
        tags = {"adapter", "adapter-transformers", "safetensors", f"base_model:{base}"}
        tags |= {f"base_model:adapter:{base}", *(str(what[k]) for k in ("method", "task_type"))}
        tags |= {str(what["language"]), str(what["task"])}
        found[HUB_TAGS] += [{"repository_id": id, "tag": tag} for tag in tags]
        grams = grams_of(f"ada/r{number}")
        found[NAME_GRAMS] += [{"repository_id": id, "gram": gram} for gram in grams]
        score = chance.random()
        found[LISTINGS].append(
            {
                "repository_id": id,
                "revision_id": id,
                "owner": "ada",
                "score": score,
                "downloads": 0,
                **what,
            }
        )
        found[METRICS] += [
            {
                "revision_id": id,
                "position": place,
                "dataset": f"data-{number // 10 % 200}",
                "split": "test",
                "name": name,
                "value": score,
                "higher_is_better": True,
            }
            for place, name in enumerate(("accuracy", "f1"))
        ]
    return found
