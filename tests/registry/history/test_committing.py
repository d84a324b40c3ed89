"""How commits are made, and the versions in them."""

import json
import math
import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Parent
from registry.errors import (
    ConflictError,
    CorruptBlobError,
    EntryNotFoundError,
    InvalidNameError,
    StaleParentError,
)
from registry.folders.weights import Weights, examine_weights
from registry.history import committing
from registry.history.changes import Put, Remove, RemoveFolder
from registry.history.git import blob_id, commit_id, tree_id
from registry.history.repositories import Repository
from registry.history.trees import TreeFile
from registry.storage.files import FileInfo
from registry.tables.reader import Reader
from tests.registry.history.conftest import REF, Push, files_of, paths
from tests.support.trees import info_of, stored

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_a_commit_and_its_tree_have_the_ids_of_git(catalog: Catalog, push: Push) -> None:
    first = push({"a.txt": b"a", "d/w.safetensors": b"12345678"}, title="Add", description="why")
    tree = catalog.history.tree(first)
    expected = tree_id((file.path, file.oid) for file in tree.files)
    assert first.oid == commit_id(expected, first.parent, "ada", first.created_at, "Add\n\nwhy")
    assert (first.title, first.description, first.author) == ("Add", "why", "ada")
    by_path = {file.path: file for file in tree.files}
    assert by_path["a.txt"].oid == blob_id(b"a")
    assert by_path["d/w.safetensors"].large


def test_the_same_files_again_are_the_same_commit(catalog: Catalog, push: Push) -> None:
    first = push({"a.txt": b"a"})
    assert push({"a.txt": b"a"}) == first
    assert len(catalog.history.commits(first, 10)) == 2


def test_a_commit_changes_all_that_it_says(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    push({"a.txt": b"1", "b.txt": b"2", "d/x": b"3", "d/y": b"4"})
    push({"a.txt": b"5", "new/n": b"6"}, Remove("b.txt"), RemoveFolder("d"))
    assert paths(catalog, repository) == ["a.txt", "new/n"]


@pytest.mark.parametrize("change", [Remove("gone"), RemoveFolder("gone"), Remove("d")])
def test_a_commit_that_removes_what_is_not_there_changes_nothing(
    catalog: Catalog, repository: Repository, push: Push, change: Remove | RemoveFolder
) -> None:
    head = push({"a.txt": b"1", "d/x": b"2"})
    with pytest.raises(EntryNotFoundError, match="with this name doesn't exist"):
        push({"b.txt": b"2"}, change)
    assert catalog.history.resolve(repository, "main") == head


def test_a_file_is_not_a_folder_as_well(push: Push) -> None:
    push({"a": b"1"})
    with pytest.raises(InvalidNameError, match="would be both a file and a folder"):
        push({"a/b": b"2"})


def test_a_commit_for_another_parent_is_refused(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    first = push({"a.txt": b"1"})
    second = push({"a.txt": b"2"}, parent=first.oid)
    with pytest.raises(StaleParentError, match="another commit came first"):
        push({"a.txt": b"3"}, parent=first.oid)
    assert catalog.history.resolve(repository, "main") == second


def test_bytes_that_are_not_stored_cannot_be_committed(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    head = push({"a.txt": b"1"})
    file = TreeFile.pointed("w.bin", FileInfo(sha256="ab" * 32, size=4))
    with pytest.raises(CorruptBlobError, match="are not stored"):
        push({}, Put(file))
    assert catalog.history.resolve(repository, "main") == head


def test_a_fusion_of_what_is_not_there_is_listed_by_its_files_alone(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    missing = Parent(ref="ada/gone@1", digest="ab" * 32)
    commit = push(files_of(make_folder(kind="fusion", parents=[missing])))
    assert (commit.version, "ada/gone@1" in str(commit.reason)) == (None, True)
    facts = catalog.history.facts(repository)
    assert (facts.pipeline_tag, facts.tags) == (None, ())
    assert facts == catalog.history.facts_at(repository, commit)


def test_what_is_made_of_the_same_adapter_twice_is_no_version(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    made = catalog.publish(AdapterRef.parse("ada/part"), make_folder())
    other = catalog.publish(AdapterRef.parse("ada/other"), make_folder())
    one, two = (Parent(ref=str(v.ref), digest=v.manifest_digest) for v in (made, other))
    again = Parent(ref="ada/alias@1", digest=one.digest)
    commit = push(files_of(make_folder(kind="fusion", parents=[one, two, again])))
    assert commit.version is None
    assert commit.reason == ("ada/x is made of ada/part@1 twice; expected each adapter once.")
    assert push(files_of(make_folder(kind="fusion", parents=[one, two]))).version == 1


def weights_of(*numbers: float, dtype: str = "F32") -> bytes:
    """What PEFT saves of a layer, in which these numbers are."""
    content = struct.pack(f"<{len(numbers)}f", *numbers)
    shapes = {"lora_A": [1, len(numbers)], "lora_B": [len(numbers), 1]}
    header, start = {}, 0
    for name, shape in shapes.items():
        end = start + len(content)
        tensor = f"base_model.model.encoder.layer.0.attention.self.query.{name}.weight"
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + content * 2


CONFIG = json.dumps(
    {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query"]}
    | {"base_model_name_or_path": "team/bert", "task_type": "FEATURE_EXTRACTION"}
).encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_kept_and_make_no_version(
    catalog: Catalog, push: Push, number: float
) -> None:
    weights = {"adapter_config.json": CONFIG, "adapter_model.safetensors": weights_of(1.0, number)}
    commit = push(weights)
    assert commit.version is None
    assert re.search(
        r"^ada/x/adapter_model\.safetensors: the tensor .* NaN or inf", commit.reason or ""
    )
    assert "adapter_model.safetensors" in {f.path for f in catalog.history.tree(commit).files}
    assert push({"adapter_model.safetensors": weights_of(1.0, 2.0)}).version == 1


def test_only_weights_that_come_with_a_commit_are_looked_at(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def noted(path: object) -> Weights:
        looked_at.append(str(path))
        return examine_weights(path)  # type: ignore[arg-type]

    monkeypatch.setattr(committing, "examine_weights", noted)
    weights = weights_of(1.0, 2.0)
    assert push({"adapter_config.json": CONFIG, "adapter_model.safetensors": weights}).version == 1
    assert looked_at == ["ada/x/adapter_model.safetensors"]
    assert push({"README.md": b"# Words"}).version == 2
    assert len(looked_at) == 1
    monkeypatch.setattr(committing, "LOOKED_AT", len(weights) - 1)
    large = push({"adapter_model.safetensors": weights_of(1.0, math.nan)})
    assert "holds NaN" in str(large.reason), "where nothing converts, who pushes waits"


@pytest.mark.parametrize("numbers", [(1.0, 2.0), (1.0, math.nan)])
def test_who_pushes_large_weights_does_not_wait_until_they_are_looked_at(
    catalog: Catalog,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    numbers: tuple[float, float],
) -> None:
    committer = committing.Committer(catalog.store, lambda blobs, files, label: files)
    files = {"adapter_config.json": CONFIG, "adapter_model.safetensors": weights_of(*numbers)}
    monkeypatch.setattr(committing, "LOOKED_AT", 1)
    stored(catalog.blobs, files)
    changes = [Put(TreeFile.pointed(path, info_of(one))) for path, one in files.items()]
    commit = committer.commit(repository, "main", changes, title="push", actor="ada")
    assert commit.version is None
    assert "large" in str(commit.reason)
    assert committer.pending() == [(repository, commit)]
    committer.convert(repository, commit)
    assert committer.pending() == []
    found = catalog.history.resolve(repository, "main")
    assert found.version == (1 if math.isfinite(numbers[1]) else None)
    assert ("holds NaN" in str(found.reason)) == (found.version is None)


def test_a_version_that_cannot_be_made_late_is_not_waited_for_without_end(
    catalog: Catalog, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = committing.Committer(catalog.store, lambda blobs, files, label: files)
    files = {"adapter_config.json": CONFIG, "adapter_model.safetensors": weights_of(1.0, 2.0)}
    monkeypatch.setattr(committing, "LOOKED_AT", 1)
    stored(catalog.blobs, files)
    changes = [Put(TreeFile.pointed(path, info_of(one))) for path, one in files.items()]
    commit = committer.commit(
        repository, "main", changes, title="push", description="x" * 70_000, actor="ada"
    )
    committer.convert(repository, commit)
    assert committer.pending() == []
    found = catalog.history.resolve(repository, "main")
    assert found.version is None
    assert "message has 70006 characters" in str(found.reason)


def test_an_adapter_on_main_becomes_a_version_with_a_tag(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    folder = make_folder()
    commit = push(files_of(folder))
    version = catalog.resolve(REF)
    assert version.manifest_digest == folder.manifest.digest
    assert (commit.version, commit.reason, version.number) == (1, None, 1)
    assert (version.author, version.message) == ("ada", "push")
    assert catalog.history.resolve(repository, "v1") == commit
    with pytest.raises(ConflictError, match="belongs to its version 1"):
        catalog.history.delete_tag(repository, "v1", "ada")


def test_a_commit_without_an_adapter_says_why_it_makes_no_version(push: Push) -> None:
    commit = push({"notes.txt": b"nothing here"})
    assert commit.version is None
    assert "adapter" in str(commit.reason)


def test_a_commit_on_a_branch_makes_no_version_unless_it_asks_for_one(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    head = catalog.history.resolve(repository, "main")
    catalog.history.create_branch(repository, "dev", head, "ada")
    assert push(files_of(make_folder()), branch="dev").version is None
    asked = push(files_of(make_folder()), branch="dev", description="late\n\nVersion: 3")
    assert asked.version == 3
    assert catalog.history.resolve(repository, "v3") == asked
    assert catalog.resolve(REF).number == 3


def test_a_number_that_holds_something_else_voids_the_commit(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    head = push(files_of(make_folder()), description="Version: 3")
    with pytest.raises(ConflictError, match="already exists with other content"):
        push(files_of(make_folder()), description="Version: 3")
    assert catalog.history.resolve(repository, "main") == head


def test_a_tag_of_somebody_takes_the_number_of_a_version(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    head = push({"a.txt": b"1"})
    catalog.history.create_tag(repository, "v1", head, None, "ada")
    assert push(files_of(make_folder()), Remove("a.txt")).version == 2
    assert catalog.history.resolve(repository, "v1") == head
    with pytest.raises(ConflictError, match="cannot get the tag v1"):
        push(files_of(make_folder()), description="Version: 1")


def test_the_same_adapter_again_is_the_earlier_version(
    catalog: Catalog, push: Push, make_folder: Callable[..., Folder]
) -> None:
    first, second = files_of(make_folder()), files_of(make_folder())
    push(first)
    push(second)
    assert push(first).version == 1
    assert [one.number for one in catalog.versions(REF)] == [2, 1]


def test_bytes_are_possessed_by_who_sent_them_or_may_read_them(
    catalog: Catalog, repository: Repository, push: Push, ada: int, bob: int
) -> None:
    history = catalog.history
    sent = catalog.blobs.put(BytesIO(b"sent"))
    push({"w.bin": b"committed"})
    committed = catalog.blobs.put(BytesIO(b"committed"))
    digests = {sent.sha256, committed.sha256, "ab" * 32}
    history.remember_upload(ada, sent)
    history.remember_upload(ada, sent)
    stranger = Reader(frozenset({bob}))
    assert history.possessed(digests, account_id=ada, reader=Reader(frozenset({ada}))) == {
        sent.sha256: sent.size,
        committed.sha256: committed.size,
    }
    public = {committed.sha256: committed.size}
    assert history.possessed(digests, account_id=bob, reader=stranger) == public
    history.set_visibility(repository, "private", "ada")
    assert history.possessed(digests, account_id=bob, reader=stranger) == {}
    assert history.possessed(digests, account_id=bob, reader=Reader(everything=True)) == public


def test_a_head_that_names_no_labels_gets_numbered_ones_as_nobody_can_be_asked(
    catalog: Catalog, push: Push
) -> None:
    folder = FIXTURES / "peft" / "bert" / "seq_cls" / "a"
    assert push({path.name: path.read_bytes() for path in folder.iterdir()}).version == 1
    assert catalog.manifest(catalog.resolve(REF)).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_what_follows_the_first_line_of_a_title_is_description(push: Push) -> None:
    commit = push({"a.txt": b"1"}, title="Add a\n\nand more", description="and why")
    assert (commit.title, commit.description) == ("Add a", "and more\n\nand why")
    with pytest.raises(InvalidNameError, match="has a title"):
        push({"a.txt": b"2"}, title=" ")
