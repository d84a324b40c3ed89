"""What other tools pushed to a hub of hubkit's is pulled as the version that the hub made of it."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants

from hubkit.composing.combine import publish_stack
from hubkit.hub.address import Repository
from hubkit.sharing.pickles import convert_blobs
from hubkit.sharing.pull_hub import pull_remote
from registry import AdapterRef, Catalog, Version
from registry.errors import (
    CorruptBlobError,
    ParentNotFoundError,
    RemoteAnswerError,
    RemoteNotFoundError,
)
from registry.history.committing import PENDING, Committer
from registry.refs import DELETED
from tests.support.foreign import BERT, PEFT
from tests.support.hub import Hub, Repo
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import LORA, WEIGHTS, come_as, nothing_in, peft_files, pull, push
from tests.support.shelf import publish_head, publish_lora

OTHER = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
FILM = AdapterRef.parse("bob/film")


def two_versions(hub: Hub) -> Repo:
    """bob/film, of which version 1 has the alias ``best``."""
    repo = hub.create("bob/film", peft_files("team/bert"))
    hub.catalog.set_alias(FILM.at(1), "best")
    repo.put({WEIGHTS: OTHER})
    return repo


@pytest.mark.parametrize(
    ("asked", "number", "revision"),
    [
        ("bob/film", 2, "v2"),
        ("bob/film@1", 1, "v1"),
        ("bob/film@v1", 1, "v1"),
        ("bob/film@best", 1, "best"),
        ("bob/film@main", 2, "main"),
    ],
)
def test_it_is_the_same_version_here_and_there(
    catalog: Catalog, hub: Hub, asked: str, number: int, revision: str
) -> None:
    two_versions(hub)
    there, here = hub.catalog.resolve(FILM.at(number)), pull(catalog, hub, asked)
    assert (here.ref, here.manifest_digest) == (there.ref, there.manifest_digest)
    assert catalog.origins(here) == [f"{hub.url}/bob/film@{revision}"]
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == (LORA[WEIGHTS], OTHER)[number - 1]
    assert pull(catalog, hub, asked) == here
    assert len(catalog.versions(FILM)) == 1


def test_its_labels_come_along(catalog: Catalog, hub: Hub) -> None:
    files = {path.name: path.read_bytes() for path in (PEFT / "seq_cls" / "a").iterdir()}
    hub.create("bob/topic", files)
    here = pull(catalog, hub, "bob/topic")
    there = hub.catalog.resolve(here.ref)
    assert catalog.manifest(here) == hub.catalog.manifest(there)
    assert len(catalog.manifest(here).labels) == 3


# The stock client uses httpx2 in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_what_the_stock_client_pushed_is_version_1(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = HfApi(endpoint=hub.url, token=hub.tokens["ada"])
    api.create_repo("ada/film")
    api.upload_folder(repo_id="ada/film", folder_path=PEFT / "seq_cls" / "a")
    here = pull(catalog, hub, "ada/film@1")
    assert here.manifest_digest == hub.catalog.resolve(here.ref).manifest_digest


def convert_what_bob_pushes(hub: Hub, files: dict[str, bytes]) -> None:
    """Make bob/old of files with pickled weights, as a hub does that converts these."""
    hub.create("bob/old")
    converting = Committer(hub.catalog.store, convert_blobs)
    hub.served.__dict__["committer"] = converting
    hub.repos["bob/old"].put(files)
    (pending,) = converting.pending()
    assert pending[1].reason in PENDING
    converting.convert(*pending)


def test_pickled_weights_that_are_not_finite_make_no_version(hub: Hub) -> None:
    files = {path.name: path.read_bytes() for path in (BERT / "seq_bn" / "a").iterdir()}
    name = "pytorch_adapter.bin"
    tensors = torch.load(io.BytesIO(files[name]), weights_only=True)
    next(iter(tensors.values())).view(-1)[0] = math.nan
    changed = io.BytesIO()
    torch.save(tensors, changed)
    convert_what_bob_pushes(hub, {**files, name: changed.getvalue()})
    head = hub.history.head(AdapterRef.parse("bob/old"))
    assert head is not None
    assert head.version is None
    assert "holds NaN or infinity" in str(head.reason)


def test_weights_that_the_hub_converted_come_as_it_has_them(catalog: Catalog, hub: Hub) -> None:
    files = {path.name: path.read_bytes() for path in (BERT / "seq_bn" / "a").iterdir()}
    convert_what_bob_pushes(hub, files)
    here = pull(catalog, hub, "bob/old@1")
    assert here.manifest_digest == hub.catalog.resolve(here.ref).manifest_digest
    assert set(catalog.manifest(here).files) == {"adapter_config.json", "adapter.safetensors"}


def test_a_commit_that_holds_no_version_does_not_hide_the_newest(
    catalog: Catalog, hub: Hub
) -> None:
    repo = two_versions(hub)
    repo.put({}, removed=["adapter_config.json"])
    assert pull(catalog, hub, "bob/film").number == 2


def test_a_yanked_version_is_not_the_newest(catalog: Catalog, hub: Hub) -> None:
    two_versions(hub)
    hub.catalog.yank(FILM.at(2), "wrong")
    assert pull(catalog, hub, "bob/film").number == 1
    assert pull(catalog, hub, "bob/film@2").number == 2


def test_a_tag_of_somebodys_own_is_no_version(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("bob/film", LORA)
    repo.tag("v7")
    with pytest.raises(RemoteNotFoundError, match=r"no version 7: its tag v7 is at version 1\."):
        pull(catalog, hub, "bob/film@7")
    assert pull(catalog, hub, "bob/film@v7").number == 1


def test_without_the_hub_it_is_taken_from_what_came_before(
    catalog: Catalog, other_catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_versions(hub)
    here = pull(catalog, hub, "bob/film")
    pull(catalog, hub, "bob/film@best")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for asked, number in (("bob/film", 2), ("bob/film@best", 1)):
        there = pull(other_catalog, hub, asked)
        assert there.number == number
    assert pull(other_catalog, hub, "bob/film").manifest_digest == here.manifest_digest
    assert hub.requests == []


def test_bytes_that_are_lost_here_are_fetched_again(catalog: Catalog, hub: Hub) -> None:
    two_versions(hub)
    here = pull(catalog, hub, "bob/film@1")
    lost = [catalog.manifest(here).files[WEIGHTS].sha256, here.manifest_digest]
    shutil.rmtree(constants.HF_HOME)
    come_as(hub, "ada")
    for digest in lost:
        catalog.blobs.path(digest).unlink()
    assert catalog.manifest(here).digest == here.manifest_digest
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


@pytest.mark.parametrize("name", ["hubkit.json", WEIGHTS])
def test_bytes_that_are_not_those_of_the_digest_are_refused(
    catalog: Catalog, misbehaving_hub: MisbehavingHub, name: str
) -> None:
    hub = misbehaving_hub
    two_versions(hub)
    hub.corrupt = {name}
    with pytest.raises(CorruptBlobError, match=f"{name} is not the file that its hash promises"):
        pull(catalog, hub, "bob/film@1")
    assert nothing_in(catalog)


@pytest.mark.parametrize(
    "version",
    [
        {"number": 0, "manifest": "a" * 64},
        {"number": 2**31, "manifest": "a" * 64},
        {"number": "1", "manifest": "a" * 64},
        {"number": 1, "manifest": "../" * 21 + "x"},
        {"number": 1},
        7,
    ],
)
def test_an_answer_that_says_no_version_is_refused(
    catalog: Catalog, misbehaving_hub: MisbehavingHub, version: Any
) -> None:
    hub = misbehaving_hub
    two_versions(hub)
    hub.lies = {"/revision/v1": lambda told: told | {"hubkit": {"version": version}}}
    with pytest.raises(RemoteAnswerError, match=r"does not answer as a hub: hubkit\.version"):
        pull(catalog, hub, "bob/film@1")
    assert nothing_in(catalog)


def test_a_hub_that_says_another_version_is_not_believed(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    two_versions(hub)
    other = hub.catalog.resolve(FILM.at(2)).manifest_digest

    def lie(number: int, told: Any) -> Any:
        return told | {"hubkit": {"version": {"number": number, "manifest": other}}}

    hub.lies = {"/revision/v1": partial(lie, 2)}
    with pytest.raises(RemoteNotFoundError, match="has no version 1: its tag v1 is at version 2"):
        pull(catalog, hub, "bob/film@1")
    hub.lies = {"/revision/v1": partial(lie, 1)}
    with pytest.raises(CorruptBlobError, match=r"hubkit\.json is not the file that its hash promi"):
        pull(catalog, hub, "bob/film@1")
    assert nothing_in(catalog)


def stacked(catalog: Catalog, hub: Hub, *, private: bool = False) -> Version:
    """ada/both, here alone: a stack of two adapters that bob pushed with PEFT."""
    for name, weights in (("bob/x", LORA[WEIGHTS]), ("bob/y", OTHER)):
        hub.create(name, {**peft_files("team/bert"), WEIGHTS: weights})
    come_as(hub, "bob")
    refs = [pull(catalog, hub, name).ref for name in ("bob/x", "bob/y")]
    if private:
        x = hub.history.find("model", AdapterRef.parse("bob/x"))
        assert x is not None
        hub.history.set_visibility(x, "private", "bob")
    come_as(hub, "ada")
    return publish_stack(catalog, AdapterRef.parse("ada/both"), refs)


def test_what_is_made_of_it_names_it_where_it_is(
    catalog: Catalog, other_catalog: Catalog, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    stacked(catalog, hub)
    push(catalog, hub, "ada/both")
    assert hub.repos.keys() == {"bob/x", "bob/y", "ada/both"}
    assert not any("too" in message for message in caplog.messages)
    assert "[bob/x](/bob/x) v1" in hub.repos["ada/both"].files()["README.md"].decode()
    there = hub.catalog.resolve(AdapterRef.parse("ada/both"))
    assert [str(one.ref) for one in hub.catalog.parents(there)] == ["bob/x@1", "bob/y@1"]
    here = pull(other_catalog, hub, "ada/both")
    assert [str(one.ref) for one in other_catalog.parents(here)] == ["bob/x@1", "bob/y@1"]


def test_a_part_that_is_private_is_as_one_that_is_not_there(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    stacked(catalog, hub)
    push(catalog, hub, "ada/both")
    messages = []
    x = hub.history.find("model", AdapterRef.parse("bob/x"))
    assert x is not None
    changes: tuple[Callable[[], None], ...] = (
        lambda: hub.history.set_visibility(x, "private", "bob"),
        hub.repos["bob/x"].delete,
    )
    come_as(hub, "eve")
    for change in changes:
        change()
        hub.requests.clear()
        with pytest.raises(ParentNotFoundError) as caught:
            pull(other_catalog, hub, "ada/both")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert nothing_in(other_catalog)


def test_a_part_that_was_made_anew_as_something_else_is_not_taken_for_it(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    stacked(catalog, hub)
    push(catalog, hub, "ada/both")
    hub.repos["bob/x"].delete()
    made = hub.create("bob/x", {**peft_files("team/other"), WEIGHTS: OTHER})
    assert made.tags.keys() == {"v2"}, "numbers go on"
    here = pull(other_catalog, hub, "ada/both")
    left = AdapterRef.nameless(catalog.resolve(AdapterRef.parse("bob/x@1")).manifest_digest)
    assert [str(one.ref) for one in other_catalog.parents(here)] == [f"{left}@1", "bob/y@1"]


def test_a_part_that_is_something_else_there_is_told(
    catalog: Catalog, other_catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    refs = [publish_lora(catalog, f"bob/{name}", which).ref for name, which in ("xa", "yb")]
    publish_stack(catalog, AdapterRef.parse("ada/both"), refs)
    push(catalog, hub, "ada/both")
    hub.create("bob/x", {**LORA, WEIGHTS: OTHER})
    hub.repos["ada/x"].delete()
    hub.refusals = {f"/{DELETED}/": (404, "RepoNotFound")}
    message = r"bob/x@1 .* \(what is at .*/bob/x/tree/v1 is something else\)"
    with pytest.raises(ParentNotFoundError, match=message):
        pull(other_catalog, hub, "ada/both")


def test_a_part_that_its_publisher_may_not_read_is_published_too(
    catalog: Catalog, hub: Hub
) -> None:
    stacked(catalog, hub, private=True)
    push(catalog, hub, "ada/both")
    assert hub.repos.keys() == {"bob/x", "bob/y", "ada/x", "ada/both"}


def test_publishing_what_was_pushed_there_changes_nothing(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    hub.create("ada/film", peft_files("team/bert"))
    pull(catalog, hub, "ada/film")
    before = hub.repos["ada/film"].commits
    assert push(catalog, hub, "ada/film").new is False
    assert hub.repos["ada/film"].commits == before


def test_the_next_version_of_hubkit_takes_the_place_of_what_was_pushed(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    repo = hub.create("ada/film", {**peft_files("team/bert"), "training_args.bin": b"code"})
    pull(catalog, hub, "ada/film")
    publish_head(catalog, "ada/film")
    assert push(catalog, hub, "ada/film").tag == "v2"
    assert hub.catalog.resolve(AdapterRef.parse("ada/film")).number == 2
    assert WEIGHTS not in repo.files()
    assert repo.files()["training_args.bin"] == b"code"
    assert [pull(other_catalog, hub, f"ada/film@{number}").number for number in (1, 2)] == [1, 2]


def test_a_commit_of_hubkits_is_pulled_by_its_alias_under_its_number(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    for which in "ab":
        publish_lora(catalog, which=which)
        push(catalog, hub, "film")
    hub.catalog.set_alias(AdapterRef.parse("ada/film@2"), "best")
    assert str(pull(other_catalog, hub, "ada/film@best").ref) == "ada/film@2"


def test_a_commit_is_pulled_by_its_id_under_its_number(catalog: Catalog, hub: Hub) -> None:
    repo = two_versions(hub)
    there = Repository.parse(f"{hub.url}/bob/film/tree/{repo.tags['v2']}")
    assert pull_remote(catalog, there).number == 2
