"""Large files go to a hub by Git LFS, as the stock client sends them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

from hubkit.hub.address import Hub as Address
from hubkit.hub.address import Repository
from hubkit.hub.session import open_session
from hubkit.hub.upload import commit
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from tests.support.foreign import PEFT, copy
from tests.support.hub import Hub
from tests.support.roundtrip import LORA, WEIGHTS, pull, push
from tests.support.shelf import publish_lora

DIGEST = hashlib.sha256(LORA[WEIGHTS]).hexdigest()


def asked(hub: Hub) -> list[tuple[str | None, str, str]]:
    """Requests about large files, with whose token they came."""
    return [one for one in hub.requests if "lfs" in one[2]]


def test_weights_go_by_lfs_and_come_back_to_the_byte(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    version = publish_lora(catalog)
    push(catalog, hub, "film")
    assert hub.objects == {DIGEST: LORA[WEIGHTS]}
    assert hub.repos["ada/film"].lfs == {WEIGHTS}
    batch = "/ada/film.git/info/lfs/objects"
    assert asked(hub) == [
        ("ada", "POST", f"{batch}/batch"),
        (None, "PUT", f"/lfs/{DIGEST}"),
        ("ada", "POST", f"{batch}/verify"),
    ]
    pulled = pull(other_catalog, hub, "ada/film")
    assert pulled.manifest_digest == version.manifest_digest
    folder = other_catalog.folder(pulled)
    assert {name: (folder / name).read_bytes() for name in LORA} == LORA


def test_what_the_hub_has_is_not_sent_again(catalog: Catalog, hub: Hub, tmp_path: Path) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    folder = copy(PEFT / "lora" / "a", tmp_path / "again")
    (folder / "notes.txt").write_text("the same weights")
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    hub.requests.clear()
    push(catalog, hub, "film")
    assert [path for _, _, path in asked(hub)] == ["/ada/film.git/info/lfs/objects/batch"]
    assert hub.repos["ada/film"].files("v2")[WEIGHTS] == LORA[WEIGHTS]


def test_an_upload_that_fails_for_a_moment_is_tried_again(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubkit.hub.upload._PAUSES", (0.0,))
    hub.refuse = {"/lfs/": 503}
    tried = []

    def recover(method: str, path: str) -> None:
        if method == "PUT":
            tried.append(path)
        if len(tried) == 2 or "info" in path:
            hub.refuse = {}
        elif method == "PUT":
            hub.refuse = {"/lfs/": 503}

    hub.before = recover
    publish_lora(catalog)
    push(catalog, hub, "film")
    assert len(tried) == 2
    assert hub.objects == {DIGEST: LORA[WEIGHTS]}


# The stock client uses httpx2 in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_the_stock_client_sends_the_same(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    contents: dict[str, Path | bytes] = {
        "adapter_config.json": b"{}\n",
        "empty.bin": b"",
        "with a space/é.txt": "ö".encode(),
    }
    for name in ("a", "b"):
        contents[f"{name}.safetensors"] = tmp_path / name
        (tmp_path / name).write_bytes(name.encode() + bytes(1000))
    sent = []
    for name in ("stock", "own"):
        repo = hub.create(f"ada/{name}", {"old.txt": b"x"})
        parent = repo.branches["main"]
        hub.bodies.clear()
        hub.objects.clear()
        if name == "own":
            with open_session(Address(hub.url)) as session:
                there = Repository(Address(hub.url), "ada/own")
                commit(
                    session,
                    there,
                    contents,
                    {"old.txt"},
                    branch="main",
                    message="Say so",
                    description="",
                    parent=parent,
                )
        else:
            api = HfApi(endpoint=hub.url, token="ada-writes")
            adding = [CommitOperationAdd(path, content) for path, content in contents.items()]
            api.create_commit(
                "ada/stock",
                [*adding, CommitOperationDelete("old.txt")],
                commit_message="Say so",
                parent_commit=parent,
            )
        sent.append(_bodies(hub, name, parent))
        assert repo.files() == {
            ".gitattributes": b"* text\n",
            **{
                path: content if isinstance(content, bytes) else content.read_bytes()
                for path, content in contents.items()
            },
        }
        assert repo.lfs == {"a.safetensors", "b.safetensors"}
    assert sent[0] == sent[1]
    assert len(sent[0]) == 7, "preupload, batch, two files, two verifications, commit"


def _bodies(hub: Hub, name: str, parent: str) -> list[Any]:
    """What was sent, without the order of files, the names of both repositories and parents."""
    found = []
    for method, path, body in hub.bodies:
        path = path.replace(f"ada/{name}", "ada/x")
        lines: list[Any] = []
        if method == "PUT":
            lines = [body.hex()]
        else:
            for line in body.split(b"\n"):
                if line:
                    lines.append(json.loads(line.replace(parent.encode(), b"PARENT")))
        for line in lines:
            if isinstance(line, dict):
                line.pop("transfers", None)  # hubkit takes no others than basic
                for key in ("files", "objects"):
                    if key in line:
                        line[key].sort(key=lambda one: str(sorted(one.items())))
        found.append((method, path, sorted(json.dumps(line, sort_keys=True) for line in lines)))
    return sorted(found)
