from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hubkit.training.runs import run_folder
from registry.errors import HubkitError, LabelError, StorageError, TrainingError

IDENTITY = {"name": "a", "seed": 1}
HOLD = """
import sys
from pathlib import Path
from hubkit.training.runs import run_folder
with run_folder(Path(sys.argv[1]), {"name": "a", "seed": 1}) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_goes_when_the_block_ends(tmp_path: Path) -> None:
    with run_folder(tmp_path, IDENTITY) as folder:
        (folder / "checkpoint").mkdir()
    assert not folder.exists()
    assert folder.parent == tmp_path / "runs"


def test_the_folder_stays_after_an_error_and_is_found_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path, IDENTITY) as folder:  # noqa: PT012
        (folder / "kept").write_text("x")
        raise ZeroDivisionError
    with run_folder(tmp_path, dict(reversed(IDENTITY.items()))) as again:
        assert again == folder
        assert (again / "kept").read_text() == "x"


@pytest.mark.parametrize("error", [LabelError, TrainingError])
def test_an_error_that_would_come_again_leaves_nothing(
    error: type[HubkitError], tmp_path: Path
) -> None:
    with pytest.raises(error), run_folder(tmp_path, IDENTITY) as folder:  # noqa: PT012
        (folder / "checkpoint").mkdir()
        raise error("no use")
    assert not folder.exists()


def test_another_identity_has_another_folder(tmp_path: Path) -> None:
    with (
        run_folder(tmp_path, IDENTITY) as one,
        run_folder(tmp_path, IDENTITY | {"seed": 2}) as other,
    ):
        assert one != other


def test_two_processes_cannot_be_at_the_same_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir()
    message = r"Another process is training a .* Wait for it"
    with pytest.raises(TrainingError, match=message), run_folder(tmp_path, IDENTITY):
        pass
    with run_folder(tmp_path, IDENTITY | {"seed": 2}):  # another run may go on
        pass
    process.kill()
    process.communicate()
    with run_folder(tmp_path, IDENTITY) as again:  # the lock dies with its holder
        assert again == folder


def test_a_home_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(StorageError, match="runs"), run_folder(tmp_path, IDENTITY):
        pass
