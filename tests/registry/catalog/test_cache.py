from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, read_folder

pytestmark = pytest.mark.once

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def test_folder_is_written_once_and_repaired_when_somebody_damaged_it(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    version = catalog.publish(REF, make_folder(content=b"right"))
    path = catalog.folder(version)
    written = path.stat().st_ino
    assert catalog.folder(version) == path
    assert path.stat().st_ino == written
    (path / "head" / "weights.bin").write_bytes(b"wrong")
    assert (catalog.folder(version) / "head" / "weights.bin").read_bytes() == b"right"
    (path / "extra").touch()
    assert not (catalog.folder(version) / "extra").exists()


def test_a_folder_that_another_process_wrote_a_moment_ago_is_used(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = catalog.publish(REF, make_folder())
    folder = catalog.home / "cache" / version.manifest_digest
    folder.parent.mkdir()
    folder.symlink_to("nowhere")
    unlink = Path.unlink

    def too_late(path: Path, missing_ok: bool = False) -> None:
        monkeypatch.undo()
        unlink(path)
        catalog.folder(version)  # what the other process does
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", too_late)
    assert catalog.folder(version) == folder
    assert read_folder(folder).manifest.digest == version.manifest_digest
