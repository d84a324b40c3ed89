"""What people and programs ask of a registry."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.registries.made_up import (
    BASES,
    COMMON_WORD,
    RARE_WORD,
    TASKS,
    WORDS,
    dataset,
    name,
)
from benchmarks.registries.timing import repeat, shown, timed
from registry import AdapterRef, Catalog
from registry.search.leaderboard import leaderboard
from registry.search.search import search


def ask(catalog: Catalog, size: int, calls: int) -> Iterator[tuple[str, str]]:
    """Time what is asked of a registry; yield what and how long, in milliseconds."""
    chance = random.Random(0)
    refs = [AdapterRef.parse(name(chance.randrange(size))) for _ in range(max(calls, 2000))]
    times = repeat(len(refs), lambda n: catalog.resolve(refs[n]))
    yield "resolve by name", f"{shown(times)}; {len(times) / sum(times):,.0f} a second"
    middle = {
        sort: search(catalog, base=BASES[1], task=TASKS[1], sort=sort, limit=1).next
        for sort in ("date", "score", "downloads")
    }
    for sort, after in middle.items():
        times = repeat(
            calls,
            lambda _, sort=sort, after=after: search(
                catalog, base=BASES[1], task=TASKS[1], sort=sort, after=after
            ),
        )
        yield f"page of 50 by base and task, by {sort}", shown(times)
    late = f"{size // 2}"
    times = repeat(calls, lambda _: search(catalog, after=late))
    yield "page of 50 from the middle of all", shown(times)
    times = repeat(
        calls, lambda _: leaderboard(catalog, dataset(1), task=TASKS[1], base=BASES[1], limit=50)
    )
    yield "leaderboard of 50 by metric", shown(times)
    searches = {
        "rare word": lambda _: RARE_WORD,
        "two words": lambda n: f"{WORDS[n % 50]} {WORDS[50 + n % 50]}",
        "most common word": lambda _: COMMON_WORD,
        "any word": lambda n: WORDS[n % len(WORDS)],
    }
    for what, words in searches.items():
        times = repeat(calls, lambda n, words=words: search(catalog, text=words(n)))
        yield f"text search: {what}", shown(times)
    times = repeat(calls, lambda _: search(catalog, text=COMMON_WORD, sort="score"))
    yield "text search: most common word, by score", shown(times)


def command_line(home: Path) -> Iterator[tuple[str, str]]:
    """Time whole commands, start of Python and all."""
    program = Path(sys.executable).with_name("hubkit")
    environment = os.environ | {"HUBKIT_HOME": str(home)}
    for argument in ("list", "--help"):
        command = [program, argument]
        times = [
            timed(
                lambda command=command: subprocess.run(
                    command, env=environment, capture_output=True, check=True
                )
            )
            for _ in range(7)
        ]
        yield f"hubkit {argument}, as a command", f"{median(times):.2f} s (least {min(times):.2f})"
