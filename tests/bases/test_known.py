from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hubkit.bases.known import KnownBases, known_bases, require_known_base
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog
from registry.errors import BaseModelMismatchError
from tests.support.foreign import PEFT

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


@pytest.fixture
def version(catalog: Catalog) -> Version:
    """Without a fingerprint, as PEFT writes none."""
    return publish_folder(catalog, PEFT / "lora" / "a", AdapterRef.parse("a"), task="film")


def require(
    catalog: Catalog, version: Version, found: str, *, trained_on: str | None = None, **kwargs: bool
) -> None:
    manifest = catalog.manifest(version)
    base = manifest.base_model.model_copy(update={"fingerprint": trained_on})
    known: Manifest = manifest.model_copy(update={"base_model": base})
    require_known_base(catalog.home, version, known, found, base="here", **kwargs)


def test_the_first_base_model_is_noted_with_what_was_not_checked(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    assert known_bases(catalog.home, version) == KnownBases()
    with caplog.at_level(logging.WARNING):
        require(catalog, version, ONE)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("a@1 came without the fingerprint of its base model. Checked: ")
    assert "Not checked: that here has the weights that it was trained on" in message
    assert known_bases(catalog.home, version) == KnownBases(first=ONE)


def test_the_same_base_model_is_taken_again_without_a_word(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    require(catalog, version, ONE)
    caplog.clear()
    require(catalog, version, ONE)
    assert caplog.records == []


def test_another_base_model_is_refused_from_then_on(catalog: Catalog, version: Version) -> None:
    require(catalog, version, ONE)
    with pytest.raises(BaseModelMismatchError, match="a@1 was first attached to tiny-bert with"):
        require(catalog, version, TWO)
    assert known_bases(catalog.home, version) == KnownBases(first=ONE)


def test_a_published_fingerprint_needs_no_note(catalog: Catalog, version: Version) -> None:
    require(catalog, version, ONE, trained_on=ONE)
    assert known_bases(catalog.home, version) == KnownBases()
    with pytest.raises(
        BaseModelMismatchError, match=r"a@1 was trained on tiny-bert .*--allow-base"
    ):
        require(catalog, version, TWO, trained_on=ONE)


def test_an_allowed_mismatch_is_noted_and_not_asked_for_again(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    require(catalog, version, TWO, trained_on=ONE, allow_mismatch=True)
    assert "although it belongs to tiny-bert" in caplog.text
    assert known_bases(catalog.home, version) == KnownBases(allowed=(TWO,))
    require(catalog, version, TWO, trained_on=ONE)
    with pytest.raises(BaseModelMismatchError):
        require(catalog, version, "3" * 64, trained_on=ONE)


def test_what_is_noted_belongs_to_the_content_and_not_to_the_name(
    catalog: Catalog, version: Version
) -> None:
    require(catalog, version, ONE)
    again = publish_folder(catalog, PEFT / "lora" / "a", AdapterRef.parse("copy"), task="film")
    assert known_bases(catalog.home, again) == KnownBases(first=ONE)
    other = publish_folder(catalog, PEFT / "lora" / "b", AdapterRef.parse("a"), task="film")
    assert known_bases(catalog.home, other) == KnownBases()
