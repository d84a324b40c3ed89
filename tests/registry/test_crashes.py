"""A process that is killed, a machine that loses power, or a disk that fails, at any step.

`make torture` goes through every step. Else each operation has a seventh of its own, and each
failure another seventh, as operations share most of their steps.
"""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Version, open_catalog, read_folder
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.errors import (
    ConflictError,
    ExistsError,
    NotFoundError,
    RefNotFoundError,
    StorageError,
)
from registry.history.committing import Committer
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import GRACE, collect_garbage
from registry.places import Kind
from registry.storage.blobs import verify_blob
from registry.storage.files import CHUNK
from registry.storage.folder_blobs import FolderBlobStore
from tests.registry.history.conftest import puts
from tests.support.power import PowerCut, before_each_step, failing_at
from tests.support.trees import info_of

ONE, TWO, OVER = (AdapterRef.parse(name) for name in ("alice/one", "two", "over"))
PUSHED, MADE = AdapterRef.parse("ada/pushed"), AdapterRef.parse("ada/made")
PUSHED_FILES = {"README.md": b"# New\n", "data/big.parquet": b"rows"}
AT_ONCE = timedelta(0)


@dataclass(frozen=True)
class Stage:
    """A registry in which something is about to happen.

    Attributes:
        catalog: The registry.
        kept: What must be there whatever happens.
        new: A folder to publish.
    """

    catalog: Catalog
    kept: tuple[Version, ...]
    new: Folder


def publish(catalog: Catalog, stage: Stage) -> None:
    catalog.publish(ONE, stage.new)


def alias(catalog: Catalog, stage: Stage) -> None:
    catalog.set_alias(ONE.at(1), "best")


def yank(catalog: Catalog, stage: Stage) -> None:
    catalog.yank(ONE.at(1), "wrong labels")


def delete(catalog: Catalog, stage: Stage) -> None:
    with contextlib.suppress(RefNotFoundError):  # it may be done, and not acknowledged
        catalog.delete(TWO)


def delete_part(catalog: Catalog, stage: Stage) -> None:
    delete(catalog, stage)


def admit(catalog: Catalog, stage: Stage) -> None:
    with contextlib.suppress(ConflictError):  # likewise
        Accounts(catalog.store).add_user("alice")
    with contextlib.suppress(ConflictError):
        Tokens(catalog.store).create("alice", "laptop", "write")


def commit(catalog: Catalog, stage: Stage) -> None:
    there = catalog.history.find("model", PUSHED)
    assert there is not None
    changes = puts(catalog, PUSHED_FILES)
    Committer(catalog.store).commit(there, "main", changes, title="push", actor="ada (laptop)")


def create(catalog: Catalog, stage: Stage) -> None:
    with contextlib.suppress(ExistsError):  # likewise
        make_repository(catalog, "dataset", MADE)


def remove(catalog: Catalog, stage: Stage) -> None:
    there = catalog.history.find("model", PUSHED)
    if there is not None:
        catalog.history.delete(there, "ada (laptop)")


def make_repository(catalog: Catalog, kind: Kind, ref: AdapterRef) -> None:
    account = Accounts(catalog.store).find("ada")
    assert account is not None
    catalog.history.create(kind, ref, account_id=account.id, visibility="public", actor="ada")


def condemn(catalog: Catalog, stage: Stage) -> None:
    collect_garbage(catalog)


def collect(catalog: Catalog, stage: Stage) -> None:
    collect_garbage(catalog, grace=AT_ONCE)


OPERATIONS = (
    *(publish, alias, yank, delete, delete_part, admit, commit, create, remove),
    *(condemn, collect),
)
Operation = Callable[[Catalog, Stage], None]

STRIDES = pytest.mark.parametrize(
    "stride", [7, pytest.param(1, marks=pytest.mark.torture)], ids=["each seventh", "every"]
)


def first_of(operation: Operation, stride: int, turn: int = 0) -> int:
    """At which step to begin, counted from 0."""
    return (OPERATIONS.index(operation) + turn) % stride


@pytest.fixture
def stage(tmp_path: Path, make_folder: Callable[..., Folder]) -> Callable[[Operation], Stage]:
    def prepare(operation: Operation) -> Stage:
        catalog = open_catalog(tmp_path / "registry")
        kept = [catalog.publish(ONE, make_folder()) for _ in range(2)]
        two = catalog.publish(TWO, make_folder())
        if operation is delete_part:
            parent = {"ref": str(two.ref), "digest": two.manifest_digest}
            kept.append(catalog.publish(OVER, make_folder(kind="stack", parents=[parent])))
        if operation in (commit, create, remove):
            Accounts(catalog.store).add_user("ada")
        if operation in (commit, remove):
            make_repository(catalog, "model", PUSHED)
        if operation in (condemn, collect):
            catalog.delete(TWO)
            for path in (catalog.home / "blobs").rglob("*"):
                os.utime(path, (0, 0))
        if operation is collect:
            assert collect_garbage(catalog, grace=GRACE).condemned == 3
        return Stage(catalog, tuple(kept), make_folder())

    return prepare


def require_whole(catalog: Catalog, stage: Stage, image: object) -> None:
    report = check_registry(catalog, full=True)
    assert report.status == 0, (image, report.findings)
    for version in stage.kept:
        found = catalog.resolve(version.ref)
        assert found.manifest_digest == version.manifest_digest, image
        for one in (found, *catalog.parents(found)):
            catalog.manifest(one)
    numbers = [version.number for version in catalog.versions(ONE)]
    assert numbers in ([2, 1], [3, 2, 1]), image
    if numbers == [3, 2, 1]:
        assert catalog.resolve(ONE.at(3)).manifest_digest == stage.new.manifest.digest
    for kind, ref in (("model", PUSHED), ("dataset", MADE)):
        require_old_or_new(catalog, kind, ref)


def require_old_or_new(catalog: Catalog, kind: Kind, ref: AdapterRef) -> None:
    """Nothing of a repository is there by halves: its first commit, or all that was pushed."""
    there = catalog.history.find(kind, ref)
    if there is None:
        return
    head = catalog.history.resolve(there, "main")
    files = {file.path: file for file in catalog.history.tree(head).files}
    pushed = files.keys() - {".gitattributes"}
    assert (len(catalog.history.commits(head, 10)), pushed) in (
        (1, set()),
        (2, PUSHED_FILES.keys()),
    )
    for path in pushed:
        with catalog.blobs.open(files[path].sha256) as stream:
            assert stream.read() == PUSHED_FILES[path]


@STRIDES
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_step_a_kill_or_a_power_cut_comes_before_the_registry_is_whole(
    tmp_path: Path, stage: Callable[[Operation], Stage], operation: Operation, stride: int
) -> None:
    prepared = stage(operation)
    kept = slice(first_of(operation, stride), None, stride)
    cut = PowerCut(prepared.catalog.home, tmp_path / "images", kept)
    with cut.watching():
        operation(prepared.catalog, prepared)
    prepared.catalog.close()
    assert cut.steps > 10
    assert cut.different > 2
    for image in cut.taken:
        catalog = open_catalog(image)
        require_whole(catalog, prepared, image)
        # What was interrupted is simply done again, and is whole then.
        operation(catalog, prepared)
        require_whole(catalog, prepared, image)
        if operation is publish:
            assert catalog.resolve(ONE).number == 3
        pushed = catalog.history.find("model", PUSHED)
        if operation is commit:
            assert pushed is not None
            assert catalog.history.resolve(pushed, "main").title == "push"
        if operation is remove:
            assert pushed is None
        if operation is delete_part:
            catalog.delete(OVER)
            require_whole(catalog, replace(prepared, kept=prepared.kept[:2]), image)
        catalog.close()
        shutil.rmtree(image)


@pytest.mark.parametrize("step", [500_000, CHUNK])
def test_whatever_step_a_cut_comes_before_a_received_blob_is_whole_or_not_there(
    tmp_path: Path, step: int
) -> None:
    content = os.urandom(CHUNK + 1)
    info = info_of(content)
    home = tmp_path / "registry"
    home.mkdir()
    cut = PowerCut(home, tmp_path / "images")
    with cut.watching():
        receiver = FolderBlobStore(home).receive(info, "w.bin")
        for start in range(0, len(content), step):
            receiver.write(content[start : start + step])
        receiver.finish()
    assert cut.steps > 10
    assert len(cut.taken) > 2
    for image in cut.taken:
        blobs = FolderBlobStore(image)
        assert blobs.examine(info.sha256) in (None, info), image
        others = [path for path in image.rglob("*") if path.is_file() and path.name != info.sha256]
        assert {path.parent for path in others} <= {image / "tmp"}
        again = blobs.receive(info, "w.bin")
        again.write(content)
        again.finish()
        verify_blob(blobs, info)
    for image in cut.final:
        verify_blob(FolderBlobStore(image), info)


def test_a_process_that_is_killed_while_it_receives_leaves_a_scratch_file_that_gc_removes(
    catalog: Catalog, start_python: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = start_python(
        """
import sys, time
from pathlib import Path
from registry.storage.folder_blobs import FolderBlobStore
receiver = FolderBlobStore(Path(sys.argv[1])).receive(None, "w.bin")
receiver.write(bytes(1_000_000))
print("halfway", flush=True)
time.sleep(60)
""",
        catalog.home,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "halfway\n"
    process.kill()
    process.communicate()
    assert catalog.blobs.prefixes() == set()
    (scratch,) = (catalog.home / "tmp").iterdir()
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o600
    assert collect_garbage(catalog).leftovers == 0  # somebody may still write to it
    os.utime(scratch, (0, 0))
    assert collect_garbage(catalog).leftovers == 1
    assert not scratch.exists()


def test_what_was_acknowledged_survives_a_power_cut_right_after(
    tmp_path: Path, stage: Callable[[Operation], Stage]
) -> None:
    prepared = stage(publish)
    cut = PowerCut(prepared.catalog.home, tmp_path / "images")
    with cut.watching():
        for operation in (publish, alias, yank, delete):
            operation(prepared.catalog, prepared)
    for image in cut.final:
        catalog = open_catalog(image)
        require_whole(catalog, prepared, image)
        assert catalog.resolve(ONE).number == 3
        first = catalog.resolve(ONE.at(1))
        assert (first.aliases, first.yank_reason) == (("best",), "wrong labels")
        with pytest.raises(NotFoundError, match="was deleted"):
            catalog.resolve(TWO)
        catalog.close()


@STRIDES
@pytest.mark.parametrize(
    "codes",
    [
        (errno.ENOSPC, errno.EIO),
        pytest.param((errno.EIO, errno.ENOSPC), marks=pytest.mark.torture),
    ],
    ids=["full-broken", "broken-full"],
)
@pytest.mark.parametrize(
    "operation",
    [
        # Each of its steps is one of the other operations.
        pytest.param(one, marks=pytest.mark.torture) if one is delete_part else one
        for one in OPERATIONS
    ],
)
def test_whatever_step_the_disk_fails_at_is_an_error_that_leaves_nothing_half_done(
    tmp_path: Path,
    stage: Callable[[Operation], Stage],
    operation: Operation,
    codes: tuple[int, int],
    stride: int,
) -> None:
    prepared = stage(operation)
    prepared.catalog.close()
    for step in count(first_of(operation, stride, 3), stride):
        home = Path(shutil.copytree(prepared.catalog.home, tmp_path / "copy"))
        catalog = open_catalog(home)
        error = None
        with failing_at(step + 1, codes[step % 2]) as reached:
            try:
                operation(catalog, prepared)
            except StorageError as caught:
                error = caught
        if not reached:
            assert error is None
            break
        if error is not None:
            assert str(error).startswith("Cannot ")
            assert [version.number for version in catalog.versions(ONE)] == [2, 1]
            assert not [*(home / "tmp").glob("*")]
        require_whole(catalog, prepared, step)
        operation(catalog, prepared)
        catalog.close()
        shutil.rmtree(home)
    assert step > 10


def test_whenever_the_disk_is_full_a_destination_is_whole_or_not_there(
    catalog: Catalog, make_folder: Callable[..., Folder], tmp_path: Path
) -> None:
    version = catalog.publish(ONE, make_folder())
    destination = tmp_path / "out" / "folder"
    failures = 0
    while True:
        left = failures + 1

        def fail(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with before_each_step(fail, statements=False):
            try:
                catalog.materialize(version, destination)
            except StorageError:
                failures += 1
            else:
                break
        if destination.exists():  # only the last step failed, which makes the rename durable
            assert read_folder(destination).manifest.digest == version.manifest_digest
            shutil.rmtree(destination)
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert failures > 10
