"""What hubkit does for the hub that it serves: pickled weights that are pushed become versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.sharing.pickles import convert_blobs
from registry import AdapterRef, Catalog
from registry.accounts.accounts import Accounts
from registry.errors import VersionNotFoundError
from registry.history.committing import PENDING, Committer
from registry.history.history import History
from registry.history.repositories import Repository
from registry.maintenance.rebuild import rebuild
from tests.registry.history.conftest import puts

FOLDER = Path(__file__).parent / "fixtures" / "adapterhub" / "bert" / "lora" / "a"
REF = AdapterRef.parse("ada/x")


@pytest.fixture
def history(catalog: Catalog) -> History:
    return catalog.history


@pytest.fixture
def committer(catalog: Catalog) -> Committer:
    return Committer(catalog.store, convert_blobs)


@pytest.fixture
def repository(catalog: Catalog, history: History) -> Repository:
    account = Accounts(catalog.store).add_user("ada")
    return history.create("model", REF, account_id=account.id, visibility="public", actor="ada")


def pickled() -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    assert "pytorch_adapter.bin" in files
    return files


def test_a_commit_does_not_wait_for_its_pickled_weights_and_becomes_a_version(
    catalog: Catalog, history: History, committer: Committer, repository: Repository
) -> None:
    commit = committer.commit(
        repository, "main", puts(catalog, pickled()), title="push", actor="ada (laptop)"
    )
    assert commit.version is None
    assert commit.reason in PENDING
    ((waiting, pending),) = committer.pending()
    assert (waiting, pending) == (repository, commit)
    committer.convert(repository, commit)
    committer.convert(repository, commit)  # as another process might
    assert committer.pending() == []
    head = history.resolve(repository, "v1")
    assert (head.oid, head.version, head.reason) == (commit.oid, 1, None)
    manifest = catalog.manifest(catalog.resolve(REF))
    assert "adapter.safetensors" in manifest.files
    assert "pytorch_adapter.bin" not in manifest.files
    assert "adapter" in history.facts(repository).tags
    before = (head, history.facts(repository))
    catalog.close()
    catalog.database.path.unlink()
    assert rebuild(catalog).problems == ()
    found = history.find("model", REF)
    assert found is not None
    again = history.resolve(found, "v1")
    assert (again.oid, again.version, again.created_at) == (head.oid, 1, head.created_at)
    assert history.facts(found) == before[1]
    assert history.resolve(found, "main").oid == head.oid


def test_a_pickle_that_cannot_be_read_leaves_a_commit_that_says_why(
    catalog: Catalog, history: History, committer: Committer, repository: Repository
) -> None:
    files = {**pickled(), "pytorch_adapter.bin": b"\x80\x04no pickle"}
    commit = committer.commit(repository, "main", puts(catalog, files), title="push", actor="ada")
    committer.convert(repository, commit)
    reason = history.resolve(repository, "main").reason
    assert reason is not None
    assert "pytorch_adapter.bin" in reason
    with pytest.raises(VersionNotFoundError):
        catalog.resolve(REF)
