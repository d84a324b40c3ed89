"""Xorbs wait by account and day, under an id that goes with them, within a limit."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.errors import FullDiskError, InvalidNameError, NoSuchPageError, RequestError
from registry.server.signing import PASS_VALID
from registry.server.xet.scratch import FOLDER_NAME, IN_USE, Scratch, Shelf, XorbWriter
from tests.support.xet import xorb

NAME, OTHER = "ab" * 32, "cd" * 32
CHUNKS = [b"a" * 100, b"b" * 70_000, b"c"]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 3, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scratch(tmp_path: Path, clock: Clock) -> Scratch:
    return Scratch(tmp_path, 1_000_000, clock)


def shelf_of(scratch: Scratch, account_id: int = 1) -> Shelf:
    return scratch.find(account_id, scratch.id_of(account_id))


def put(shelf: Shelf, content: bytes, name: str = NAME) -> int:
    writer = XorbWriter(shelf, name)
    try:
        writer.write(content)
        return writer.finish()
    finally:
        writer.give_up()


def names(shelf: Shelf) -> set[str]:
    return {path.name for path in shelf.path.iterdir()} - {"ids"}


class TestXorbs:
    """What is put on a shelf."""

    def test_ranges_of_chunks_are_read_back(self, scratch: Scratch) -> None:
        shelf = shelf_of(scratch)
        assert put(shelf, xorb(*CHUNKS)) == 70_101
        kept = shelf.open(NAME)
        for first in range(3):
            for end in range(first + 1, 4):
                data = b"".join(CHUNKS[first:end])
                assert kept.length(first, end) == len(data)
                assert b"".join(kept.read(first, end)) == data
        with pytest.raises(RequestError, match="3 chunks has no chunk 3"):
            kept.length(0, 4)
        kept.close()

    @pytest.mark.parametrize("content", [b"", xorb(*CHUNKS)[:-1], xorb(*CHUNKS) + b"x"])
    def test_what_is_no_xorb_leaves_nothing(self, scratch: Scratch, content: bytes) -> None:
        shelf = shelf_of(scratch)
        with pytest.raises(RequestError):
            put(shelf, content)
        assert names(shelf) == set()

    def test_what_comes_again_replaces_what_came_first(self, scratch: Scratch) -> None:
        shelf = shelf_of(scratch)
        put(shelf, xorb(*CHUNKS))
        first = shelf.open(NAME)
        put(shelf, xorb(b"another"))
        with pytest.raises(RequestError):
            put(shelf, xorb(b"third")[:-1])
        again = shelf.open(NAME)
        assert b"".join(again.read(0, 1)) == b"another"
        assert b"".join(first.read(0, 1)) == CHUNKS[0]  # whoever reads it reads on
        first.close()
        again.close()
        assert names(shelf) == {NAME}

    @pytest.mark.parametrize("name", ["ids", "../../x", "AB" * 32, "ab" * 31, ""])
    def test_nothing_else_than_a_hash_names_one(self, scratch: Scratch, name: str) -> None:
        shelf = shelf_of(scratch)
        with pytest.raises(InvalidNameError):
            XorbWriter(shelf, name)
        with pytest.raises(InvalidNameError):
            shelf.open(name)

    @pytest.mark.parametrize("left", [0, 3, 4, 50, -1])
    def test_one_that_a_power_cut_made_shorter_is_not_there(
        self, scratch: Scratch, left: int
    ) -> None:
        shelf = shelf_of(scratch)
        put(shelf, xorb(*CHUNKS))
        content = (shelf.path / NAME).read_bytes()
        for damaged in (content[:left], bytes(len(content)), b"\xff" * len(content)):
            (shelf.path / NAME).write_bytes(damaged)
            with pytest.raises(RequestError, match="has not come"):
                shelf.open(NAME)

    def test_one_that_never_came_is_told(self, scratch: Scratch) -> None:
        with pytest.raises(RequestError, match="has not come"):
            shelf_of(scratch).open(NAME)


class TestIds:
    """What clients know a shelf as."""

    def test_an_account_has_one_a_day_in_all_processes(
        self, scratch: Scratch, tmp_path: Path, clock: Clock
    ) -> None:
        first = scratch.id_of(1)
        assert first == scratch.id_of(1) == Scratch(tmp_path, 1, clock).id_of(1)
        assert first != scratch.id_of(2)
        assert first.isalnum()
        clock.time += timedelta(minutes=1)
        assert scratch.id_of(1) != first

    def test_that_of_yesterday_is_good_for_its_account_and_older_ones_go(
        self, scratch: Scratch, clock: Clock
    ) -> None:
        name = scratch.id_of(1)
        put(scratch.find(1, name), xorb(*CHUNKS))
        with pytest.raises(NoSuchPageError):
            scratch.find(2, name)
        clock.time += timedelta(days=1)
        scratch.sweep()
        assert names(scratch.find(1, name)) == {NAME}
        clock.time += timedelta(minutes=1)
        with pytest.raises(NoSuchPageError):
            scratch.find(1, name)
        shelf = Shelf(next((scratch._root / "1").iterdir()))
        assert names(shelf) == {NAME}
        scratch.sweep()
        assert not shelf.path.exists()

    def test_a_shelf_that_was_lost_has_another(self, scratch: Scratch) -> None:
        name = scratch.id_of(1)
        (scratch.find(1, name).path / "ids").unlink()
        assert scratch.id_of(1) != name
        with pytest.raises(NoSuchPageError):
            scratch.find(1, name)

    def test_a_renewed_one_is_told_and_those_before_stay_good(self, scratch: Scratch) -> None:
        first = scratch.id_of(1)
        shelf = scratch.find(1, first)
        scratch.renew(shelf)
        second = scratch.id_of(1)
        assert second != first
        assert scratch.find(1, first) == scratch.find(1, second) == shelf
        for _ in range(200):
            scratch.renew(shelf)
        assert len(shelf.ids) == 100

    def test_a_line_that_was_cut_off_harms_no_other(self, scratch: Scratch) -> None:
        name = scratch.id_of(1)
        shelf = scratch.find(1, name)
        with (shelf.path / "ids").open("a") as file:
            file.write("\n0123")
        assert scratch.id_of(1) == name
        scratch.renew(shelf)
        assert len(shelf.ids) == 2

    def test_processes_that_make_it_at_once_agree(self, tmp_path: Path, clock: Clock) -> None:
        told: list[str] = []
        threads = [
            threading.Thread(target=lambda: told.append(Scratch(tmp_path, 1, clock).id_of(1)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 8
        scratch = Scratch(tmp_path, 1, clock)
        assert len({scratch.find(1, name).path for name in told}) == 1


class TestRoom:
    """How much there may be."""

    def test_what_is_there_counts_and_what_is_unused_makes_room(self, scratch: Scratch) -> None:
        shelf, mine = shelf_of(scratch), shelf_of(scratch, 2)
        (shelf.path / NAME).write_bytes(bytes(600_000))
        (mine.path / NAME).write_bytes(bytes(300_000))
        scratch.require_room(80_000)
        with pytest.raises(FullDiskError, match="of 1000000 bytes"):
            scratch.require_room(200_000)
        os.utime(shelf.path, (0, 0))
        scratch.require_room(200_000)
        assert not shelf.path.exists()
        assert mine.path.exists()

    def test_what_comes_counts_at_once(self, scratch: Scratch) -> None:
        scratch.require_room(1_000_000)
        scratch.count(900_000)
        with pytest.raises(FullDiskError):
            scratch.require_room(200_000)

    def test_small_xorbs_count_as_what_the_disk_takes_for_them(self, scratch: Scratch) -> None:
        scratch.require_room(1)
        for _ in range(244):
            scratch.count(1)
        with pytest.raises(FullDiskError):
            scratch.require_room(1000)

    def test_an_upload_keeps_its_shelf(self, scratch: Scratch) -> None:
        name = scratch.id_of(1)
        shelf = scratch.find(1, name)
        (shelf.path / NAME).write_bytes(bytes(990_000))
        os.utime(shelf.path, (0, 0))
        scratch.find(1, name)  # as each request does
        with pytest.raises(FullDiskError):
            scratch.require_room(200_000)
        assert IN_USE > PASS_VALID

    def test_the_folder_is_in_the_registrys(self, scratch: Scratch, tmp_path: Path) -> None:
        shelf = shelf_of(scratch, 7)
        assert shelf.path == tmp_path / FOLDER_NAME / "7" / "2026-05-03"
