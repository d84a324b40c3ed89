"""What a hub can be asked of the history of repositories, and told."""

import json
import math
import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import AdapterRef, Catalog, Folder, Parent
from registry.errors import (
    AliasNotFoundError,
    ConflictError,
    CorruptBlobError,
    EntryNotFoundError,
    ExistsError,
    InvalidNameError,
    PartOfAdapterError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StaleParentError,
    VersionNotFoundError,
)
from registry.folders.weights import Weights, examine_weights
from registry.history import committing
from registry.history.changes import Put, Remove, RemoveFolder
from registry.history.committing import Committer
from registry.history.git import blob_id, commit_id, tree_id
from registry.history.repositories import Repository
from registry.history.trees import ChangedFile, TreeFile
from registry.history.uploads import Reader
from registry.maintenance.rebuild import rebuild
from registry.search.search import search
from registry.storage.files import FileInfo
from registry.tables.models import TREES
from tests.registry.history.conftest import Push, files_of, puts
from tests.support.sweeps import on_one_each

FIXTURES = Path(__file__).parents[2] / "fixtures"
REF = AdapterRef.parse("ada/x")


def paths(catalog: Catalog, repository: Repository, revision: str = "main") -> list[str]:
    tree = catalog.history.tree(catalog.history.resolve(repository, revision))
    return [file.path for file in tree.files if file.path != ".gitattributes"]


def test_a_new_repository_has_a_main_branch_with_one_commit(
    catalog: Catalog, repository: Repository
) -> None:
    head = catalog.history.resolve(repository, "main")
    assert catalog.history.commits(head, 10) == [head]
    assert head.parent is None
    assert [branch.name for branch in catalog.history.branches(repository)] == ["main"]
    assert catalog.history.tags(repository) == []
    assert paths(catalog, repository) == []


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


def test_the_same_tree_may_come_back_and_is_stored_once(catalog: Catalog, push: Push) -> None:
    first, second = push({"a.txt": b"1"}), push({"a.txt": b"2"})
    third = push({"a.txt": b"1"})
    assert third.oid != first.oid
    assert third.tree_id == first.tree_id != second.tree_id
    with catalog.database.read() as connection:
        assert len(connection.execute(select(TREES)).all()) == 3


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


PATHS = ("../x", "/x", "a//b", "a/./b", "", "a/", ".git/config", "a/.GIT/b", "a\0b", "a\\b")


@on_one_each("path", [(path,) for path in PATHS])
def test_a_path_that_git_refuses_changes_nothing(
    catalog: Catalog, repository: Repository, push: Push, path: str
) -> None:
    head = push({"a.txt": b"1"})
    with pytest.raises(InvalidNameError):
        push({path: b"2"})
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


def test_a_revision_is_a_branch_then_a_tag_then_an_id(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    history = catalog.history
    first, second = push({"a.txt": b"1"}), push({"a.txt": b"2"})
    history.create_branch(repository, "feat/x", first, "ada")
    history.create_tag(repository, "both", first, "said", "ada")
    history.create_branch(repository, "both", second, "ada")
    assert history.resolve(repository, "feat/x") == first
    assert history.resolve(repository, "both") == second
    assert history.resolve(repository, first.oid) == first
    for revision in ("nope", "ab" * 20, "", "a\0b"):
        with pytest.raises(RevisionNotFoundError):
            history.resolve(repository, revision)
    push({"a.txt": b"3"}, branch="feat/x")
    assert history.resolve(repository, "main") == second
    (tag,) = history.tags(repository)
    assert (tag.name, tag.oid, tag.message) == ("both", first.oid, "said")


def test_no_branch_takes_the_place_of_the_tag_of_a_version(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    history, start = catalog.history, push({"a.txt": b"1"})
    for name in ("v1", "v2"):
        history.create_branch(repository, name, start, "ada")
    assert history.resolve(repository, "v1") == start
    beside = push({"a.txt": b"2"}, branch="v1")
    version = push(files_of(make_folder()), Remove("a.txt"))
    assert version.version == 1
    assert history.resolve(repository, "v1") == version
    assert beside.oid in {branch.oid for branch in history.branches(repository)}
    assert history.resolve(repository, "v2") == start


def test_branches_and_tags_are_made_once_and_can_go(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    history, head = catalog.history, push({"a.txt": b"1"})
    history.create_branch(repository, "dev", head, "ada")
    history.create_tag(repository, "v1.0", head, None, "ada")
    with pytest.raises(ExistsError):
        history.create_branch(repository, "dev", head, "ada")
    with pytest.raises(ExistsError):
        history.create_tag(repository, "v1.0", head, None, "ada")
    history.delete_branch(repository, "dev", "ada")
    history.delete_tag(repository, "v1.0", "ada")
    with pytest.raises(RevisionNotFoundError):
        history.delete_branch(repository, "dev", "ada")
    with pytest.raises(RevisionNotFoundError):
        history.delete_tag(repository, "v1.0", "ada")
    with pytest.raises(ConflictError):
        history.delete_branch(repository, "main", "ada")


NAMES = ("", "a b", "a..b", ".a", "a/", "a.lock", "-a", "a~", "ab" * 20, "a\x7f", "x" * 245, "@")


@on_one_each("name", [(name,) for name in NAMES])
def test_names_that_git_refuses_are_refused(
    catalog: Catalog, repository: Repository, push: Push, name: str
) -> None:
    head = push({"a.txt": b"1"})
    with pytest.raises(InvalidNameError):
        catalog.history.create_branch(repository, name, head, "ada")
    with pytest.raises(InvalidNameError):
        catalog.history.create_tag(repository, name, head, None, "ada")


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


def test_only_weights_that_come_with_a_commit_are_looked_at_and_none_that_are_too_large(
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
    assert push({"adapter_model.safetensors": weights_of(1.0, math.nan)}).version == 3
    assert len(looked_at) == 1


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


def test_what_is_published_here_is_committed_on_main(
    catalog: Catalog, repository: Repository, make_folder: Callable[..., Folder]
) -> None:
    folder = make_folder(task="sentiment")
    before = catalog.history.resolve(repository, "main")
    version = catalog.publish(REF, folder, message="Better\n\nby far")
    head = catalog.history.resolve(repository, "main")
    assert (head.version, head.title, head.description) == (version.number, "Better", "by far")
    assert head.parent == before.oid
    assert paths(catalog, repository) == sorted(files_of(folder))
    assert "sentiment" in catalog.history.facts(repository).tags


def test_squashing_leaves_one_commit_and_those_of_versions(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    history = catalog.history
    published = push(files_of(make_folder()))
    lost = push({"README.md": b"x"})
    push({"README.md": b"y"})
    squashed = history.squash(repository, "main", "all", "ada")
    assert history.commits(squashed, 10) == [squashed]
    assert history.resolve(repository, "v1").oid == published.oid
    with pytest.raises(RevisionNotFoundError):
        history.resolve(repository, lost.oid)


@pytest.mark.sqlite
@pytest.mark.parametrize("is_adapter", [True, False])
def test_what_a_squashed_commit_holds_is_brought_back_from_the_log(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    make_folder: Callable[..., Folder],
    is_adapter: bool,
) -> None:
    push(files_of(make_folder()) if is_adapter else {"a.txt": b"a"})
    squashed = catalog.history.squash(repository, "main", "all", "ada")
    assert (squashed.version, squashed.reason is None) == (
        (1, True) if is_adapter else (None, False)
    )
    catalog.database.close()
    catalog.database.path.unlink()
    rebuild(catalog)
    again = catalog.history.find("model", REF)
    assert again is not None
    back = catalog.history.resolve(again, squashed.oid)
    assert (back.version, back.reason) == (squashed.version, squashed.reason)


def test_a_deleted_repository_comes_back_empty_to_its_account_alone(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    bob: int,
    ada: int,
    make_folder: Callable[..., Folder],
) -> None:
    history = catalog.history
    old = push(files_of(make_folder()))
    history.delete(repository, "ada")
    assert history.find("model", REF) is None
    with pytest.raises(RepositoryNotFoundError):
        history.delete(repository, "ada")
    with pytest.raises(RepositoryNotFoundError):
        push({"a.txt": b"1"})
    with pytest.raises(ConflictError, match="no other account gets its name"):
        history.create("model", REF, account_id=bob, visibility="public", actor="bob")
    again = history.create("model", REF, account_id=ada, visibility="private", actor="ada")
    assert paths(catalog, again) == []
    with pytest.raises(RevisionNotFoundError):
        history.resolve(again, old.oid)
    changes = puts(catalog, files_of(make_folder()))
    made = Committer(catalog.store).commit(again, "main", changes, title="again", actor="ada")
    assert made.version == 2


def test_a_former_name_of_a_deleted_repository_is_made_anew_by_its_account_alone(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    bob: int,
    ada: int,
    make_folder: Callable[..., Folder],
) -> None:
    history = catalog.history
    push(files_of(make_folder()))
    history.move(repository, AdapterRef.parse("ada/y"), account_id=ada, actor="ada")
    history.delete(history.get(repository.id), "ada")
    with pytest.raises(InvalidNameError, match="is the former name"):
        history.create("model", REF, account_id=bob, visibility="public", actor="bob")
    again = history.create("model", REF, account_id=ada, visibility="private", actor="ada")
    assert (again.id, paths(catalog, again)) == (repository.id, [])
    assert history.find("model", AdapterRef.parse("ada/y")) == again
    changes = puts(catalog, files_of(make_folder()))
    made = Committer(catalog.store).commit(again, "main", changes, title="again", actor="ada")
    assert made.version == 2


def test_a_name_that_only_looks_different_is_refused(
    catalog: Catalog, repository: Repository, ada: int
) -> None:
    with pytest.raises(ExistsError):
        catalog.history.create("model", REF, account_id=ada, visibility="public", actor="ada")
    with pytest.raises(InvalidNameError, match="differs only in case"):
        catalog.history.create(
            "model", AdapterRef.parse("ada/X"), account_id=ada, visibility="public", actor="ada"
        )


def test_repositories_of_other_kinds_have_names_of_their_own(
    catalog: Catalog, repository: Repository, push: Push, ada: int
) -> None:
    made = catalog.history.create("dataset", REF, account_id=ada, visibility="public", actor="ada")
    assert made.place == "datasets/ada/x"
    Committer(catalog.store).commit(
        made, "main", puts(catalog, {"t.csv": b"1"}), title="t", actor="ada"
    )
    assert paths(catalog, made) == ["t.csv"]
    assert paths(catalog, repository) == []
    catalog.history.delete(made, "ada")
    assert catalog.history.find("dataset", REF) is None
    assert catalog.history.find("model", REF) == repository


def test_a_moved_repository_is_found_by_both_names(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    ada: int,
    bob: int,
    make_folder: Callable[..., Folder],
) -> None:
    push(files_of(make_folder()))
    to = AdapterRef.parse("bob/y")
    catalog.history.move(repository, to, account_id=bob, actor="ada")
    moved = catalog.history.find("model", REF)
    assert moved is not None
    assert (moved.ref, moved.account_id, moved.id) == (to, bob, repository.id)
    assert catalog.history.find("model", to) == moved
    assert catalog.resolve(to).number == 1
    with pytest.raises(InvalidNameError, match="still leads to it"):
        catalog.history.create("model", REF, account_id=ada, visibility="public", actor="ada")
    catalog.history.move(moved, REF, account_id=ada, actor="bob")
    assert catalog.history.find("model", to) is not None


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


def test_each_file_and_folder_names_the_last_commit_that_changed_it(
    catalog: Catalog, push: Push
) -> None:
    first = push({"a.txt": b"1", "d/x": b"1", "d/y": b"1"})
    second = push({"d/y": b"2"})
    found = catalog.history.last_changes(second, {"a.txt", "d", "d/x", "d/y"})
    assert found == {"a.txt": first, "d/x": first, "d": second, "d/y": second}


def test_a_version_is_found_by_a_tag_where_no_alias_is_called_so(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    first, _ = push(files_of(make_folder())), push(files_of(make_folder()))
    catalog.history.create_tag(repository, "stable", first, None, "ada")
    by_tag = AdapterRef.parse("ada/x@stable")
    assert catalog.resolve(by_tag).number == 1
    catalog.set_alias(REF.at(2), "stable")
    assert catalog.resolve(by_tag).number == 2
    catalog.remove_alias(REF, "stable")
    catalog.yank(REF.at(1), "wrong")
    with pytest.raises(AliasNotFoundError):
        catalog.resolve(by_tag)


def test_a_name_without_a_version_says_why_its_last_commit_makes_none(
    catalog: Catalog, push: Push
) -> None:
    commit = push({"notes.txt": b"x"})
    with pytest.raises(
        VersionNotFoundError, match=rf"last commit \({commit.oid[:12]}\) makes none"
    ):
        catalog.resolve(REF)


def test_an_adapter_is_moved_with_its_versions_and_found_by_its_new_name(
    catalog: Catalog, make_folder: Callable[..., Folder], ada: int
) -> None:
    plain, to = AdapterRef.parse("reviews"), AdapterRef.parse("ada/films")
    catalog.publish(plain, make_folder())
    catalog.set_alias(plain, "best")
    catalog.move(plain, to)
    assert str(catalog.resolve(AdapterRef.parse("ada/films@best")).ref) == "ada/films@1"
    with pytest.raises(RefNotFoundError):
        catalog.resolve(plain)
    assert [str(one.ref) for one in search(catalog, owner="ada").items] == ["ada/films@1"]
    assert [str(one.ref) for one in search(catalog, text="films").items] == ["ada/films@1"]
    assert search(catalog, text="reviews").items == ()
    moved = catalog.history.find("model", to)
    assert moved is not None
    assert moved.account_id == ada
    with pytest.raises(PartOfAdapterError):
        catalog.move(to.at(1), plain)
    catalog.publish(AdapterRef.parse("ada/taken"), make_folder())
    with pytest.raises(ExistsError):
        catalog.move(to, AdapterRef.parse("ada/taken"))


def test_a_head_that_names_no_labels_gets_numbered_ones_as_nobody_can_be_asked(
    catalog: Catalog, push: Push
) -> None:
    folder = FIXTURES / "peft" / "bert" / "seq_cls" / "a"
    assert push({path.name: path.read_bytes() for path in folder.iterdir()}).version == 1
    assert catalog.manifest(catalog.resolve(REF)).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_a_commit_that_was_squashed_away_is_told_to_be_gone(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    gone = push({"a.txt": b"a"})
    push({"a.txt": b"b"})
    history = catalog.history
    history.squash(repository, "main", "One", "ada")
    for ask in (
        lambda: history.tree(gone),
        lambda: history.file(gone, "a.txt"),
        lambda: history.commits(gone, 10),
        lambda: history.last_changes(gone, ["a.txt"]),
        lambda: history.facts_at(repository, gone),
        lambda: history.create_branch(repository, "old", gone, "ada"),
        lambda: history.create_tag(repository, "old", gone, None, "ada"),
    ):
        with pytest.raises(RevisionNotFoundError, match="no longer there"):
            ask()  # type: ignore[no-untyped-call]


def test_a_row_that_another_commit_got_is_not_taken_for_the_one_that_is_gone(
    catalog: Catalog, repository: Repository, ada: int, push: Push
) -> None:
    gone = push({"a.txt": b"a"})
    catalog.history.delete(repository, "ada")
    other = catalog.history.create(
        "dataset", AdapterRef("ada", "secret"), account_id=ada, visibility="private", actor="ada"
    )
    for name in ("b.txt", "c.txt", "d.txt"):
        Committer(catalog.store).commit(
            other, "main", puts(catalog, {name: b"!"}), title=name, actor="ada"
        )
    with pytest.raises(RevisionNotFoundError, match="no longer there"):
        catalog.history.tree(gone)


def test_what_is_done_to_a_repository_that_was_moved_meanwhile_is_logged_under_its_name(
    catalog: Catalog, repository: Repository, ada: int, push: Push
) -> None:
    head = push({"a.txt": b"a"})
    history = catalog.history
    history.move(repository, AdapterRef("ada", "y"), account_id=ada, actor="ada")
    history.create_branch(repository, "dev", head, "ada")
    history.create_tag(repository, "t", head, None, "ada")
    history.squash(repository, "dev", "One", "ada")
    history.delete_tag(repository, "t", "ada")
    history.delete_branch(repository, "dev", "ada")
    with catalog.database.read() as connection:
        names = [entry.name for entry in list(catalog.log.entries(connection))[-6:]]
    assert names == ["ada/x", *["ada/y"] * 5]


def test_nothing_is_done_to_a_repository_that_was_deleted_meanwhile(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    head = push({"a.txt": b"a"})
    history = catalog.history
    history.delete(repository, "ada")
    for change in (
        lambda: history.create_branch(repository, "dev", head, "ada"),
        lambda: history.delete_branch(repository, "dev", "ada"),
        lambda: history.create_tag(repository, "t", head, None, "ada"),
        lambda: history.delete_tag(repository, "t", "ada"),
        lambda: history.squash(repository, "main", "One", "ada"),
    ):
        with pytest.raises(RepositoryNotFoundError):
            change()  # type: ignore[no-untyped-call]


def test_what_follows_the_first_line_of_a_title_is_description(push: Push) -> None:
    commit = push({"a.txt": b"1"}, title="Add a\n\nand more", description="and why")
    assert (commit.title, commit.description) == ("Add a", "and more\n\nand why")
    with pytest.raises(InvalidNameError, match="has a title"):
        push({"a.txt": b"2"}, title=" ")


def test_some_files_of_a_commit_can_be_asked_for(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    first = push({"README.md": b"# x", "a.txt": b"a"})
    second = push({"README.md": b"# y"})
    found = catalog.history.files(first, ["README.md", "training.png"])
    assert [*found] == ["README.md"]
    assert found["README.md"].oid == blob_id(b"# x")
    assert catalog.history.files(second, ["README.md"])["README.md"].oid == blob_id(b"# y")


def test_the_version_that_a_commit_holds_is_known(
    catalog: Catalog, make_folder: Callable[..., Folder], repository: Repository, push: Push
) -> None:
    assert catalog.history.version(push({"a.txt": b"a"})) is None
    published = catalog.publish(REF, make_folder())
    head = catalog.history.resolve(repository, "main")
    assert catalog.history.version(head) == published
    assert catalog.history.versions(repository, 5) == [published]


def test_a_folder_of_a_commit_is_told_with_all_that_is_below_it(
    catalog: Catalog, push: Push
) -> None:
    commit = push({"d/a": b"1", "d/e/b": b"22", "D2/c": b"3", "d_/x": b"4", "d%/x": b"5"})

    def told(folder: str) -> list[tuple[str, int]]:
        return sorted((path, size) for path, size, _ in catalog.history.folder(commit, folder))

    assert told("d") == [("d/a", 1), ("d/e/b", 2)]
    assert told("d_") == [("d_/x", 1)]
    assert told("D") == told("d/a") == told("absent") == []
    assert len(told("")) == 6


def test_what_differs_between_two_commits_is_told_by_path(catalog: Catalog, push: Push) -> None:
    first = push({"a": b"1", "b": b"22", "c": b"333", "z": b""})
    second = push({"b": b"4444", "d/e": b"5"}, Remove("a"), Remove("z"))
    found = catalog.history.differences(first, second, 9)
    assert found == [
        ChangedFile("a", 1, None),
        ChangedFile("b", 2, 4),
        ChangedFile("d/e", None, 1),
        ChangedFile("z", 0, None),
    ]
    assert catalog.history.differences(first, second, 1) == found[:1]
    assert catalog.history.differences(second, second, 9) == []
    everything = catalog.history.differences(None, second, 9)
    assert [one.path for one in everything] == [".gitattributes", "b", "c", "d/e"]
    assert {one.before for one in everything} == {None}


def test_a_commit_is_asked_for_files_with_an_ending(catalog: Catalog, push: Push) -> None:
    commit = push({"d/a.csv": b"1", "b_csv": b"2"})
    assert catalog.history.has_ending(commit, [".parquet", ".csv"])
    assert not catalog.history.has_ending(commit, [".parquet", "%.c"])
