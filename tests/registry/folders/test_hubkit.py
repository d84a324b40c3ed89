import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Folder, Manifest, read_folder, write_manifest
from registry.errors import CorruptBlobError, FolderError, ManifestError, StorageError


def test_a_written_folder_reads_back_with_every_file_listed(
    make_folder: Callable[..., Folder],
) -> None:
    folder = make_folder(content=b"12345", task="sentiment")
    assert folder.manifest.task == "sentiment"
    assert folder.manifest.files.keys() == {"adapter_config.json", "head/weights.bin"}
    assert folder.manifest.files["head/weights.bin"].size == 5
    assert (folder.path / "hubkit.json").read_bytes() == folder.manifest.to_json()


def test_writing_the_manifest_again_lists_what_is_there_now(
    make_folder: Callable[..., Folder],
) -> None:
    folder = make_folder()
    (folder.path / "README.md").write_text("a card")
    written = write_manifest(folder.path, folder.manifest)
    assert written.files.keys() == folder.manifest.files.keys() | {"README.md"}
    assert read_folder(folder.path).manifest == written


def test_an_unlisted_file_is_named(make_folder: Callable[..., Folder]) -> None:
    folder = make_folder()
    (folder.path / "head" / "notes.txt").write_text("x")
    with pytest.raises(FolderError, match=r"holds head/notes\.txt, which its hubkit\.json does"):
        read_folder(folder.path)


def test_a_missing_file_is_named(make_folder: Callable[..., Folder]) -> None:
    folder = make_folder()
    (folder.path / "head" / "weights.bin").unlink()
    with pytest.raises(FolderError, match=r"lacks head/weights\.bin") as caught:
        read_folder(folder.path)
    assert caught.value.subject == ["head/weights.bin"]


@pytest.mark.parametrize("content", [b"weights X", b"weights", b"weights 1 and more"])
def test_an_altered_file_is_named_with_both_digests(
    make_folder: Callable[..., Folder], content: bytes
) -> None:
    folder = make_folder()
    (folder.path / "head" / "weights.bin").write_bytes(content)
    expected = folder.manifest.files["head/weights.bin"]
    with pytest.raises(CorruptBlobError, match=f"weights.bin: .* says {expected}, found "):
        read_folder(folder.path)


def test_a_symlink_is_refused(make_folder: Callable[..., Folder], tmp_path: Path) -> None:
    folder = make_folder()
    for name, target in (("link", tmp_path / "secret"), ("loop", folder.path)):
        (folder.path / name).symlink_to(target)
        with pytest.raises(FolderError, match=f"{name} is a link or a special file"):
            read_folder(folder.path)
        with pytest.raises(FolderError, match=f"{name} is a link or a special file"):
            write_manifest(folder.path, folder.manifest)
        (folder.path / name).unlink()


def test_a_special_file_is_refused_without_reading_it(make_folder: Callable[..., Folder]) -> None:
    folder = make_folder()
    os.mkfifo(folder.path / "pipe")
    with pytest.raises(FolderError, match="pipe is a link or a special file"):
        read_folder(folder.path)


def test_a_file_name_that_does_not_travel_is_refused(make_folder: Callable[..., Folder]) -> None:
    folder = make_folder()
    (folder.path / "a:b").write_text("x")
    with pytest.raises(FolderError, match="Rename the file"):
        write_manifest(folder.path, folder.manifest)


def test_a_broken_safetensors_file_is_refused_on_writing_and_reading(
    tmp_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(FolderError, match="not a sound safetensors file"):
        write_manifest(tmp_path, make_manifest())
    assert not (tmp_path / "hubkit.json").exists()


def test_a_malformed_manifest_names_its_file(make_folder: Callable[..., Folder]) -> None:
    folder = make_folder()
    (folder.path / "hubkit.json").write_text("{}")
    with pytest.raises(ManifestError, match=f"{folder.path}/hubkit.json"):
        read_folder(folder.path)


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(
    make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(StorageError, match=r"Cannot write .*hubkit\.json: No space left"):
            write_manifest(folder.path, folder.manifest.model_copy(update={"task": "other"}))
    assert read_folder(folder.path) == folder
