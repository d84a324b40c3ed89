from pathlib import Path

import pytest

from registry.errors import FolderError, StorageError
from registry.folders.contents import list_files
from registry.storage.durable import storage_errors
from registry.storage.files import open_file
from registry.storage.place import Copy

pytestmark = pytest.mark.once


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights.safetensors").write_bytes(b"bytes")
    return Copy(tmp_path, "https://hub/bob/sst2", {"weights.safetensors": "weights.bin"})


def test_a_copy_is_read_where_it_is_and_called_as_its_original(copy: Copy) -> None:
    weights = copy / "inner" / "weights.safetensors"
    with open_file(weights) as stream:
        assert stream.read() == b"bytes"
    assert str(weights) == "https://hub/bob/sst2/inner/weights.safetensors"
    assert (weights.name, weights.suffix) == ("weights.safetensors", ".safetensors")
    assert str(weights.parent) == "https://hub/bob/sst2/inner"
    assert Path(weights.parent) == copy.path / "inner"


def test_a_file_that_was_made_of_another_is_called_as_that(copy: Copy) -> None:
    made = copy / "weights.safetensors"
    assert (made.name, str(made)) == ("weights.bin", "https://hub/bob/sst2/weights.bin")
    assert made.suffix == ".safetensors"  # what it is


def test_errors_about_a_copy_never_name_where_it_is(copy: Copy) -> None:
    with (
        pytest.raises(StorageError, match=r"Cannot read https://hub/bob/sst2/gone: No such file"),
        storage_errors("read", copy / "gone"),
    ):
        open_file(copy / "gone")
    (copy.path / "link").symlink_to("inner")
    with pytest.raises(FolderError, match=r"^https://hub/bob/sst2/link is a link"):
        list_files(copy)
