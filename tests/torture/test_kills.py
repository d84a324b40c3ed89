"""Real processes that publish, pull, delete and collect garbage at once, and are killed.

A process is killed with SIGKILL every few milliseconds and replaced. What it had acknowledged, a
line in a file, must be there in the end with the right bytes: a few dozen kills in the suite,
1,000 in `make torture`.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from registry import AdapterRef, Folder, open_catalog
from registry.errors import RefNotFoundError
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage

FORK = multiprocessing.get_context("fork")
CROWD = ("publish", "publish", "publish", "pull", "collect")
SHORT_GRACE = timedelta(seconds=0.3)


def acknowledge(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def work(kind: str, root: Path, folders: list[Folder], seed: int) -> None:
    chance = random.Random(seed)
    catalog, copies = open_catalog(root / "home"), open_catalog(root / "copies")
    while True:
        match kind:
            case "publish":
                doomed = chance.random() < 0.3
                name = f"doomed-{seed}-{chance.random()}" if doomed else f"n{chance.randrange(8)}"
                version = catalog.publish(AdapterRef.parse(name), chance.choice(folders))
                if doomed:
                    catalog.delete(version.ref.repository)
                else:
                    acknowledge(root / "published", f"{version.ref} {version.manifest_digest}")
            case "pull":
                name = AdapterRef.parse(f"n{chance.randrange(8)}")
                with contextlib.suppress(RefNotFoundError):  # not published yet
                    version = copies.pull(name, catalog)
                    acknowledge(root / "pulled", f"{version.ref} {version.manifest_digest}")
            case _:
                collect_garbage(catalog, grace=SHORT_GRACE)


@pytest.mark.parametrize(
    "kills",
    [15, pytest.param(1000, marks=[pytest.mark.torture, pytest.mark.timeout(0)])],
)
def test_whatever_was_acknowledged_survives_the_kills(
    kills: int, tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    folders = [make_folder() for _ in range(60)]
    for name in ("home", "copies"):
        open_catalog(tmp_path / name).close()
    (tmp_path / "published").touch()
    (tmp_path / "pulled").touch()
    chance = random.Random(kills)
    started = 0

    def start(kind: str) -> tuple[str, multiprocessing.process.BaseProcess]:
        nonlocal started
        started += 1
        process = FORK.Process(target=work, args=(kind, tmp_path, folders, started))
        process.start()
        return kind, process

    crowd = [start(kind) for kind in CROWD]
    for _ in range(kills):
        time.sleep(chance.uniform(0.01, 0.15))
        place = chance.randrange(len(crowd))
        kind, process = crowd[place]
        assert process.is_alive(), f"a process that was to {kind} ended with {process.exitcode}"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        crowd[place] = start(kind)
    for _, process in crowd:
        process.kill()
        process.join()

    for home, acknowledged in (("home", "published"), ("copies", "pulled")):
        catalog = open_catalog(tmp_path / home)
        report = check_registry(catalog, full=True)
        assert report.status == 0, report.findings
        lines = (tmp_path / acknowledged).read_text().split("\n")[:-1]
        assert lines, f"nothing was {acknowledged}"
        for ref, digest in map(str.split, lines):
            version = catalog.resolve(AdapterRef.parse(ref))
            assert version.manifest_digest == digest
        for number in range(8):
            try:
                versions = catalog.versions(AdapterRef.parse(f"n{number}"))
            except RefNotFoundError:
                continue
            numbers = Counter(version.number for version in versions)
            assert set(numbers.values()) == {1}
            if home == "home":
                assert sorted(numbers) == [*range(1, len(versions) + 1)]
