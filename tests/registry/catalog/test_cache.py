from collections.abc import Callable

import pytest

from registry import (
    AdapterRef,
    Catalog,
    Folder,
)

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
