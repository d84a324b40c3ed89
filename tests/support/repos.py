"""What a hub holds: repositories with their commits, and how the protocol describes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import yaml

Files = dict[str, bytes]


@dataclass
class Repo:
    """A repository: its commits' files by id, and what its branches and tags point to."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)

    def resolve(self, revision: str) -> str | None:
        found = self.branches.get(revision) or self.tags.get(revision)
        return found or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> Files:
        commit = self.resolve(revision)
        assert commit is not None
        return self.commits[commit]

    def commit(self, branch: str, files: Files, summary: str) -> str:
        parent = self.branches.get(branch, "")
        stamp = json.dumps([parent, summary, len(self.commits), sorted(files)]).encode()
        oid = hashlib.sha1(stamp).hexdigest()
        self.commits[oid] = dict(files)
        self.branches[branch] = oid
        return oid

    def info(self, name: str, commit: str) -> dict[str, Any]:
        """What the protocol tells of a repository at a commit."""
        files = self.commits[commit]
        _, _, rest = files.get("README.md", b"").decode("utf-8", "replace").partition("---\n")
        card = card_data(rest.partition("\n---")[0])
        tags = [tag for tag in card.get("tags", ()) if isinstance(tag, str)]
        tags += [card[key] for key in ("library_name", "pipeline_tag") if card.get(key)]
        if base := card.get("base_model"):
            tags += [f"base_model:{base}", f"base_model:adapter:{base}"]
        return {
            "id": name,
            "sha": commit,
            "private": self.private,
            "gated": "manual" if self.gated else False,
            "tags": tags,
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "cardData": {str(key): json.loads(json.dumps(card[key], default=str)) for key in card},
            "siblings": [{"rfilename": path} for path in sorted(files)],
            "downloads": 7,
            "likes": 1,
            "lastModified": "2026-11-01T12:00:00.000Z",
            "createdAt": "2026-11-01T12:00:00.000Z",
        }

    def etag(self, path: str, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest() if path in self.lfs else git_sha1(content)

    def entry(self, path: str, content: bytes) -> dict[str, Any]:
        """A file as the listing of a tree has it."""
        found = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
        if path in self.lfs:
            digest = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return found

    def refs(self) -> dict[str, Any]:
        return {
            "branches": _refs("heads", self.branches),
            "tags": _refs("tags", self.tags),
            "converts": [],
        }


def card_data(text: str) -> dict[str, Any]:
    """The fields of a card; none where they cannot be read, as on the real hub."""
    if "&" in text:  # what refers to itself cannot be told in JSON
        return {}
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _refs(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
        for name, commit in names.items()
    ]
