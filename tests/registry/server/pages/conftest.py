"""What is in the repositories that pages show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry import AdapterRef, Folder, Version, read_folder
from registry.folders import write_manifest
from registry.history.commits import Commit
from registry.history.repositories import Repository
from registry.manifest import Manifest
from registry.places import Kind, Visibility
from registry.server.hub import Hub
from tests.registry.history.conftest import puts
from tests.support.foreign import PEFT
from tests.support.html import Element
from tests.support.people import People

Publish = Callable[..., Version]
"""Publishes a version: ``publish("alice/x", "private", task="sentiment", parents=(other,))``."""

Push = Callable[..., Commit]
"""Makes a commit: ``push("alice/x", {"README.md": b"# Hi"})``."""


@pytest.fixture
def publish(hub: Hub, people: People, make_folder: Callable[..., Folder]) -> Publish:
    """Publish a version in a repository of somebody; any field of its manifest can be given."""

    def publish(
        name: str,
        visibility: Visibility = "public",
        *,
        parents: tuple[Version, ...] = (),
        files: Mapping[str, bytes] | None = None,
        message: str = "",
        **fields: Any,
    ) -> Version:
        if parents:
            pins = [{"ref": str(one.ref), "digest": one.manifest_digest} for one in parents]
            fields = {"kind": "fusion", "method": {"type": "fusion"}, "parents": pins} | fields
        folder = make_folder(**fields)
        if files is not None:
            folder = with_files(folder, files)
        made = people.catalog.publish(
            AdapterRef.parse(name), folder, author=name.partition("/")[0], message=message
        )
        set_visibility(hub, name, visibility)
        return made

    return publish


def with_files(folder: Folder, files: Mapping[str, bytes]) -> Folder:
    """Lay files into a folder, beside its manifest."""
    path = Path(folder.path)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / "hubkit.json").unlink()
    empty: Manifest = folder.manifest.model_copy(update={"files": {}})
    write_manifest(path, empty)
    return read_folder(path)


def set_visibility(hub: Hub, name: str, visibility: Visibility) -> None:
    """Make a model public or private."""
    found = hub.history.find("model", AdapterRef.parse(name))
    assert found is not None
    hub.history.set_visibility(found, visibility, "root")


@pytest.fixture
def push(hub: Hub, people: People) -> Push:
    """Push files to a repository of somebody, which is made if need be."""

    def push(
        name: str,
        files: Mapping[str, bytes],
        *,
        kind: Kind = "model",
        visibility: Visibility = "public",
        branch: str = "main",
        title: str = "push",
        description: str = "",
    ) -> Commit:
        found: Repository | None = hub.history.find(kind, AdapterRef.parse(name))
        if found is None:
            found = people.make(name, visibility, kind)
        return hub.committer.commit(
            found,
            branch,
            puts(people.catalog, files),
            title=title,
            description=description,
            actor=f"{name.partition('/')[0]} (laptop)",
        )

    return push


@pytest.fixture
def metric() -> Callable[..., dict[str, Any]]:
    """A metric of a version, any field of which can be given."""

    def make(value: float, **fields: Any) -> dict[str, Any]:
        facts = {"dataset": "imdb", "split": "test", "name": "accuracy", "higher_is_better": True}
        return {**facts, "value": value, **fields}

    return make


LORA = {path.name: path.read_bytes() for path in (PEFT / "lora" / "a").iterdir()}


def uses(page: Element) -> dict[str, str]:
    """The lines to copy, by what they do."""
    section = page.one("section", **{"aria-labelledby": "use"})
    titles = [one.text for one in section.all("h3")]
    lines = [one.one("code").raw for one in section.all("div", class_="command")]
    return dict(zip(titles, lines, strict=True))


def facts(page: Element, at: int = 0) -> dict[str, str]:
    """What is known, by name, of one of the lists on a page."""
    lists = page.all("dl", class_="known")
    return {one.one("dt").text: one.one("dd").text for one in lists[at].all("div")}
