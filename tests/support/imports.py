"""The imports of the two packages as a graph: which file needs which."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

Graph = Mapping[str, set[str]]


def source_files() -> dict[str, Path]:
    """Every file of both packages by its dotted name."""
    paths = [path for package in ("hubkit", "registry") for path in (ROOT / package).rglob("*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(paths)
    }


@cache
def imported(source: str) -> frozenset[str]:
    """Every dotted name that a source imports, inside functions and for types only included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def graph_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each of them imports, by name: a name belongs to its module.

    The two packages' own doors, which only repeat names, take no part.
    """
    doors = {"hubkit", "registry"}

    def module_of(name: str) -> str | None:
        found = name if name in sources else name.rpartition(".")[0]
        return found if found in sources and found not in doors else None

    return {
        module: {found for name in imported(text) if (found := module_of(name))} - {module}
        for module, text in sources.items()
        if module not in doors
    }


def circles(graph: Graph) -> list[list[str]]:
    """Return a path that comes back to its start for each module that can reach itself."""
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in sorted(graph):
        if start in seen:
            continue
        path = _way_back(graph, start)
        if path:
            found.append(path)
            seen |= set(path)
    return found


def _way_back(graph: Graph, start: str) -> list[str]:
    came_from: dict[str, str] = {}
    todo = [start]
    while todo:
        module = todo.pop(0)
        for other in sorted(graph.get(module, ())):
            if other == start:
                return _path(came_from, start, module)
            if other not in came_from:
                came_from[other] = module
                todo.append(other)
    return []


def _path(came_from: Mapping[str, str], start: str, last: str) -> list[str]:
    path = [start]
    while last != start:
        path.insert(0, last)
        last = came_from[last]
    return [start, *path]


def rooms(graph: Graph) -> dict[str, set[str]]:
    """The same graph between rooms: a room is a folder or a file right inside of a package."""
    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        found.setdefault(_room(module), set()).update(_room(other) for other in others)
    return {room: others - {room} for room, others in found.items()}


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])
