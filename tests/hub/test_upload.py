"""Large files go to a hub by Git LFS, as the stock client sends them."""

from __future__ import annotations

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
from tests.support.hub import Asked, Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import LORA, WEIGHTS, come_as, pull, push
from tests.support.shelf import publish_lora

BATCH = "/ada/film.git/info/lfs/objects/batch"


def asked(hub: Hub) -> list[tuple[str | None, str, str]]:
    """Requests about large files, with whose token they came; a signed address is cut."""
    return [
        (one.by, one.method, "/_lfs/" if one.path.startswith("/_lfs/") else one.path)
        for one in hub.requests
        if "lfs" in one.path
    ]


def test_weights_go_by_lfs_and_come_back_to_the_byte(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    version = publish_lora(catalog)
    push(catalog, hub, "film")
    assert hub.repos["ada/film"].large() == {WEIGHTS}
    assert asked(hub) == [
        ("ada", "POST", BATCH),
        (None, "PUT", "/_lfs/"),
        ("ada", "POST", BATCH.replace("batch", "verify")),
    ]
    (sent,) = [one for one in hub.requests if one.method == "PUT"]
    assert sent.body == LORA[WEIGHTS]
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
    assert asked(hub) == [("ada", "POST", BATCH)]
    assert hub.repos["ada/film"].files("v2")[WEIGHTS] == LORA[WEIGHTS]


def test_an_upload_that_fails_for_a_moment_is_tried_again(
    catalog: Catalog, misbehaving_hub: MisbehavingHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubkit.hub.upload._PAUSES", (0.0,))
    hub = misbehaving_hub
    hub.refusals = {"/_lfs/": 503}

    def recover(asked: Asked) -> None:
        if len(hub.paths("PUT")) == 2:
            hub.refusals = {}

    hub.before = recover
    publish_lora(catalog)
    push(catalog, hub, "film")
    assert len(hub.paths("PUT")) == 2
    assert hub.repos["ada/film"].files()[WEIGHTS] == LORA[WEIGHTS]


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
    # Who sent some bytes before, or may read them, need not send them.
    for name in ("ada/stock", "bob/own"):
        repo = hub.create(name, {"old.txt": b"x"}, private=True)
        parent = repo.branches["main"]
        before = repo.files()
        hub.requests.clear()
        come_as(hub, name.partition("/")[0])
        if name == "bob/own":
            with open_session(Address(hub.url)) as session:
                there = Repository(Address(hub.url), "bob/own")
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
            api = HfApi(endpoint=hub.url, token=hub.tokens["ada"])
            adding = [CommitOperationAdd(path, content) for path, content in contents.items()]
            api.create_commit(
                "ada/stock",
                [*adding, CommitOperationDelete("old.txt")],
                commit_message="Say so",
                parent_commit=parent,
            )
        sent.append(_bodies(hub, name, parent))
        assert repo.files() == {
            ".gitattributes": before[".gitattributes"],
            **{
                path: content if isinstance(content, bytes) else content.read_bytes()
                for path, content in contents.items()
            },
        }
        assert repo.large() == {"a.safetensors", "b.safetensors"}
    assert sent[0] == sent[1]
    assert len(sent[0]) == 7, "preupload, batch, two files, two verifications, commit"


def _bodies(hub: Hub, name: str, parent: str) -> list[Any]:
    """What was sent, without the order of files, the names of both repositories and parents."""
    found = []
    for asked in hub.requests:
        if not asked.body:
            continue
        path = asked.path.replace(name, "ada/x")
        lines: list[Any] = []
        if asked.method == "PUT":
            path, lines = "", [asked.body.hex()]
        else:
            for line in asked.body.split(b"\n"):
                if line:
                    lines.append(json.loads(line.replace(parent.encode(), b"PARENT")))
        for line in lines:
            if isinstance(line, dict):
                line.pop("transfers", None)  # hubkit takes no others than basic
                for key in ("files", "objects"):
                    if key in line:
                        line[key].sort(key=lambda one: str(sorted(one.items())))
        found.append(
            (asked.method, path, sorted(json.dumps(line, sort_keys=True) for line in lines))
        )
    return sorted(found)
