from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.asgi import Ask

pytestmark = pytest.mark.once


def test_a_body_that_is_too_large_is_refused_before_it_is_read(asks: Ask) -> None:
    announced = {"content-length": str(10**12)}
    for by, status in (("alice", 413), (None, 401)):
        answer = asks("POST", "/api/repos/create", by=by, body=b"{}", headers=announced)
        assert answer.status == status
    for odd in ("-1", "abc", "9" * 40, "²"):
        answer = asks(
            "POST", "/api/repos/create", by="alice", body=b"{}", headers={"content-length": odd}
        )
        assert answer.status == 413


def test_a_body_that_does_not_come_to_its_end_is_malformed(asks: Ask) -> None:
    answer = asks("POST", "/api/repos/create", by="alice", body=b'{"name": "x"}', cut=True)
    assert answer.status == 400
    assert "did not come to its end" in answer.headers["x-error-message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("size", [100, 100_000])
def test_a_body_that_there_is_no_room_for_is_answered_as_a_full_disk(
    asks: Ask, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(**_: object) -> BinaryIO:
        return Path("/dev/full").open("w+b")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", full)
    answer = asks("POST", "/api/repos/create", by="alice", body=b" " * size)
    assert (answer.status, answer.headers["x-error-code"]) == (507, "Storage")
