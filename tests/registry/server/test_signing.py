from __future__ import annotations

from dataclasses import replace

import pytest
from itsdangerous import timed

from registry import Catalog
from registry.errors import ForbiddenError
from registry.server.signing import VALID, Signer, Upload

UPLOAD = Upload(account_id=3, repository_id=7, sha256="ab" * 32, size=10, part=2, part_size=4)


def test_what_was_signed_is_read_back() -> None:
    signer = Signer("key")
    text = signer.sign(UPLOAD)
    assert signer.read(text) == UPLOAD
    assert "ab" * 32 not in text
    assert text.isascii()
    assert not set(text) & set("/?#% ")


@pytest.mark.parametrize("change", ["cut", "flipped", "longer", "other key", "nothing"])
def test_what_was_not_signed_here_is_refused(change: str) -> None:
    text = Signer("key").sign(UPLOAD)
    altered = {
        "cut": text[:-1],
        "flipped": ("B" if text[0] != "B" else "C") + text[1:],
        "longer": text + "a",
        "other key": Signer("another key").sign(UPLOAD),
        "nothing": "",
    }
    with pytest.raises(ForbiddenError):
        Signer("key").read(altered[change])


def test_a_signature_is_good_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer("key")
    text = signer.sign(UPLOAD)
    now = timed.time.time()
    monkeypatch.setattr(timed.time, "time", lambda: now + VALID - 2)
    assert signer.read(text) == UPLOAD
    monkeypatch.setattr(timed.time, "time", lambda: now + VALID + 2)
    with pytest.raises(ForbiddenError):
        signer.read(text)


def test_parts_add_up_to_the_file() -> None:
    lengths = [replace(UPLOAD, part=part).length for part in range(1, UPLOAD.parts + 1)]
    assert lengths == [4, 4, 2]
    assert replace(UPLOAD, part=0).length == 10


def test_all_processes_of_a_registry_sign_alike_and_others_do_not(
    catalog: Catalog, other_catalog: Catalog
) -> None:
    text = Signer.of(catalog.store).sign(UPLOAD)
    assert Signer.of(catalog.store).read(text) == UPLOAD
    with pytest.raises(ForbiddenError):
        Signer.of(other_catalog.store).read(text)
