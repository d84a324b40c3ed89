"""What people do with huggingface_hub, as it is installed, against a hub of granian's."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    constants,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hubkit.hub.address import Hub as Address
from hubkit.hub.tokens import keep_token
from hubkit.sharing.publish_hub import publish_remote
from hubkit.sharing.pull import pull
from registry import AdapterRef, Folder, open_catalog, read_folder
from tests.registry.server.pages.conftest import with_files
from tests.support.foreign import PEFT
from tests.support.people import People, with_people
from tests.support.serving_hub import Running, running

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
    # The client's own way to send what is no file.
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),
]

WEIGHTS = os.urandom(2_000_000)
LORA = PEFT / "lora" / "a"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return with_people(open_catalog(tmp_path_factory.mktemp("hub") / "home"))


@pytest.fixture(scope="module")
def served(people: People) -> Iterator[Running]:
    with running(people.catalog.home, "--workers", "2") as hub:
        yield hub


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client use the network, keep what it caches here, and send large files by LFS."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def api(served: Running, people: People) -> HfApi:
    return HfApi(endpoint=served.url, token=people.tokens["alice"])


@pytest.fixture
def bob(served: Running, people: People) -> HfApi:
    return HfApi(endpoint=served.url, token=people.tokens["bob"])


@pytest.fixture
def mine(api: HfApi, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-z]+", "-", request.node.name.lower())[5:90].strip("-")
    return str(api.create_repo(f"alice/{name}").repo_id)


def files(api: HfApi, repository: str, **more: Any) -> list[str]:
    return [path for path in api.list_repo_files(repository, **more) if path != ".gitattributes"]


def read(api: HfApi, repository: str, path: str, **more: Any) -> bytes:
    return Path(api.hf_hub_download(repository, path, **more)).read_bytes()


def test_a_folder_goes_up_in_one_commit_and_comes_down_the_same(
    api: HfApi, mine: str, tmp_path: Path
) -> None:
    content = {
        "README.md": b"---\nlicense: mit\n---\n",
        "w.safetensors": WEIGHTS,
        "d/ü.json": b"{}",
    }
    for path, data in content.items():
        (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / path).write_bytes(data)
    info = api.upload_folder(folder_path=tmp_path / "up", repo_id=mine, commit_message="all")
    log = api.list_repo_commits(mine)
    assert [(log[0].commit_id, log[0].title), len(log)] == [(info.oid, "all"), 2]
    folder = Path(snapshot_download(mine, endpoint=api.endpoint, token=api.token))
    assert folder.name == info.oid
    assert {path: (folder / path).read_bytes() for path in content} == content
    checked = api.verify_repo_checksums(mine)
    assert (checked.mismatches, checked.missing_paths) == ([], [])
    # The same again makes no commit.
    assert api.upload_folder(folder_path=tmp_path / "up", repo_id=mine).oid == info.oid


def test_weights_that_are_no_file_go_by_lfs(api: HfApi, mine: str) -> None:
    api.upload_file(path_or_fileobj=io.BytesIO(WEIGHTS), path_in_repo="m.bin", repo_id=mine)
    (entry,) = api.get_paths_info(mine, ["m.bin"])
    assert entry.lfs is not None
    assert (entry.lfs.size, entry.size) == (len(WEIGHTS), len(WEIGHTS))
    assert read(api, mine, "m.bin") == WEIGHTS


def test_an_adapter_becomes_a_version_that_can_be_searched_for(
    api: HfApi, mine: str, people: People
) -> None:
    api.upload_folder(folder_path=LORA, repo_id=mine, commit_message="first")
    info = api.model_info(mine)
    assert info.library_name == "peft"
    assert info.tags is not None
    assert any(tag.startswith("base_model:") for tag in info.tags)
    assert [tag.name for tag in api.list_repo_refs(mine).tags] == ["v1"]
    base = next(tag for tag in info.tags if tag.startswith("base_model:adapter:"))
    assert [found.id for found in api.list_models(filter=base, author="alice")] == [mine]


def test_one_commit_adds_changes_removes_and_copies(api: HfApi, mine: str) -> None:
    first = [CommitOperationAdd(path, path.encode()) for path in ("a", "b", "d/c", "d/e")]
    weights = CommitOperationAdd("w.bin", WEIGHTS)
    api.create_commit(mine, [*first, weights], commit_message="first")
    api.create_commit(
        mine,
        [
            CommitOperationAdd("a", b"changed"),
            CommitOperationDelete("b"),
            CommitOperationDelete("d/"),
            CommitOperationCopy("w.bin", "copies/w.bin"),
        ],
        commit_message="second",
    )
    assert files(api, mine) == ["a", "copies/w.bin", "w.bin"]
    assert (read(api, mine, "a"), read(api, mine, "copies/w.bin")) == (b"changed", WEIGHTS)


def test_commits_at_the_same_time_all_land_and_a_parent_lets_one_in(api: HfApi, mine: str) -> None:
    def upload(number: int) -> str:
        content = str(number).encode()
        info = api.upload_file(path_or_fileobj=content, path_in_repo=f"f{number}", repo_id=mine)
        return str(info.oid)

    with ThreadPoolExecutor(6) as threads:
        oids = set(threads.map(upload, range(6)))
    log = [commit.commit_id for commit in api.list_repo_commits(mine)]
    assert len(log) == 7
    assert oids <= set(log)

    def race(number: int) -> int:
        try:
            api.create_commit(
                mine,
                [CommitOperationAdd(f"r{number}", b"x")],
                commit_message="race",
                parent_commit=log[0],
            )
        except HfHubHTTPError as error:
            return int(error.response.status_code)
        return 200

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(race, range(4))) == [200, 412, 412, 412]


def test_branches_and_tags_are_made_read_and_removed(api: HfApi, mine: str) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=mine)
    api.create_tag(mine, tag="r1", tag_message="one")
    api.create_branch(mine, branch="dev/x")
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id=mine, revision="dev/x")
    assert [read(api, mine, "a", revision=one) for one in ("r1", "dev/x", "main")] == [
        b"1",
        b"2",
        b"1",
    ]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(mine, tag="r1")
    api.create_tag(mine, tag="r1", exist_ok=True)
    api.delete_tag(mine, tag="r1")
    api.delete_branch(mine, branch="dev/x")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(mine, revision="dev/x")
    with pytest.raises(HfHubHTTPError):
        api.delete_branch(mine, branch="main")


def test_a_branch_becomes_one_commit(api: HfApi, mine: str) -> None:
    for number in range(3):
        api.upload_file(path_or_fileobj=b"%d" % number, path_in_repo="a", repo_id=mine)
    api.super_squash_history(mine, commit_message="squashed")
    assert [commit.title for commit in api.list_repo_commits(mine)] == ["squashed"]
    assert read(api, mine, "a") == b"2"


def test_what_is_missing_is_told_apart(api: HfApi, bob: HfApi, mine: str) -> None:
    with pytest.raises(EntryNotFoundError):
        read(api, mine, "nope")
    with pytest.raises(RevisionNotFoundError):
        read(api, mine, ".gitattributes", revision="nope")
    with pytest.raises(RepositoryNotFoundError):
        read(api, f"{mine}-nope", "a")
    api.update_repo_settings(mine, private=True)
    with pytest.raises(RepositoryNotFoundError):
        bob.model_info(mine)
    assert mine not in [model.id for model in bob.list_models(author="alice")]
    assert mine in [model.id for model in api.list_models(author="alice")]


def test_a_moved_repository_is_still_found(api: HfApi, mine: str) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=mine)
    api.move_repo(mine, f"acme/{mine.partition('/')[2]}")
    assert api.model_info(mine).id.startswith("acme/")
    assert read(api, mine, "a") == b"1"


def test_long_listings_come_in_pages(
    api: HfApi, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"part-{number:04d}" for number in range(1100)]
    api.create_commit(
        mine, [CommitOperationAdd(name, b"x") for name in names], commit_message="many"
    )
    assert files(api, mine) == names
    last = api.get_paths_info(mine, ["part-0001"], expand=True)[0].last_commit
    assert last is not None
    assert last.title == "many"


def test_downloads_are_counted_within_some_seconds(
    api: HfApi, mine: str, people: People, served: Running
) -> None:
    api.upload_file(path_or_fileobj=WEIGHTS[:1000], path_in_repo="m.bin", repo_id=mine)
    api.upload_file(path_or_fileobj=b"small", path_in_repo="a.txt", repo_id=mine)
    read(api, mine, "m.bin")
    read(api, mine, "a.txt")
    read(api, mine, "m.bin", force_download=True)
    counted = served.wait_for(lambda: api.model_info(mine).downloads == 2, seconds=30)
    assert counted, api.model_info(mine).downloads
    with people.catalog.database.read() as connection:
        used = "SELECT count(*) FROM tokens WHERE last_used_at IS NOT NULL"
        assert connection.exec_driver_sql(used).scalar_one() >= 1


@pytest.fixture
def signed_in(
    tmp_path: Path, people: People, served: Running, monkeypatch: pytest.MonkeyPatch
) -> Address:
    """The hub, for a machine on which alice has logged in."""
    for name, place in (
        ("HF_HOME", "hf-home"),
        ("HF_TOKEN_PATH", "hf-home/token"),
        ("HF_STORED_TOKENS_PATH", "hf-home/stored_tokens"),
    ):
        monkeypatch.setattr(constants, name, str(tmp_path / place))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    address = Address.parse(served.url)
    keep_token(address, people.tokens["alice"])
    return address


def test_what_hubkit_publishes_comes_back_to_the_same_digest(
    tmp_path: Path, people: People, signed_in: Address
) -> None:
    here, there = open_catalog(tmp_path / "here"), open_catalog(tmp_path / "there")
    mine = here.publish(AdapterRef(None, "pushed"), read_folder(LORA))
    publish_remote(here, AdapterRef(None, "pushed"), signed_in)
    served_version = people.catalog.resolve(AdapterRef("alice", "pushed"))
    pulled = pull(there, "alice/pushed", signed_in.url)
    digests = {one.manifest_digest for one in (mine, served_version, pulled)}
    assert len(digests) == 1
    assert not publish_remote(here, AdapterRef(None, "pushed"), signed_in).new


def test_what_a_deleted_adapter_is_part_of_is_pulled_and_published_all_the_same(
    tmp_path: Path, api: HfApi, signed_in: Address, make_folder: Callable[..., Folder]
) -> None:
    here, there = open_catalog(tmp_path / "here"), open_catalog(tmp_path / "there")
    folder = with_files(make_folder(), {"README.md": b"# Its own card"})
    one = here.publish(AdapterRef(None, "part"), folder)
    parent = {"ref": str(one.ref), "digest": one.manifest_digest}
    both = AdapterRef(None, "both")
    here.publish(both, make_folder(kind="stack", parents=[parent]))
    publish_remote(here, both, signed_in)
    api.delete_repo("alice/part")
    pulled = pull(there, "alice/both", signed_in.url)
    (part,) = there.parents(pulled)
    assert part.ref == AdapterRef.nameless(one.manifest_digest).at(1)
    there.materialize(part, tmp_path / "part")
    assert (tmp_path / "part" / "README.md").read_bytes() == b"# Its own card"
    # From there it goes to others under the name that it has, which is none.
    assert publish_remote(there, pulled.ref, signed_in, name=AdapterRef("alice", "again")).new
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/part")
    api.delete_repo("alice/both")
    api.delete_repo("alice/again")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(str(part.ref.repository))
