from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from hubkit.bases.compare import identity
from hubkit.bases.known import KnownBases, known_bases, require_known_base
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.catalog.catalog import KNOWN_BASES_NAME
from registry.errors import OtherBaseError
from registry.manifest import BaseModelInfo, canonical_digest
from tests.support.foreign import PEFT

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


@pytest.fixture
def version(catalog: Catalog) -> Version:
    """Without a fingerprint, as PEFT writes none."""
    return publish_folder(catalog, PEFT / "lora" / "a", AdapterRef.parse("a"), task="film")


def base(
    fingerprint: str = ONE, *, heads: int = 4, tokenizer: str = "a" * 64, pooler: str = "b" * 64
) -> BaseModelInfo:
    config = {"num_attention_heads": heads}
    return BaseModelInfo(
        id="here",
        fingerprint=fingerprint,
        config=config,
        config_digest=canonical_digest(config),
        tokenizer_digest=tokenizer,
        parts={"pooler": pooler},
    )


def require(
    catalog: Catalog,
    version: Version,
    found: BaseModelInfo,
    *,
    trained_on: dict[str, object] | None = None,
    allow_mismatch: bool = False,
) -> None:
    manifest = catalog.manifest(version)
    changed = manifest.base_model.model_copy(update=trained_on or {})
    require_known_base(
        catalog.home,
        version,
        manifest.model_copy(update={"base_model": changed}),
        found,
        base="here",
        allow_mismatch=allow_mismatch,
    )


def notes(home: Path, version: Version) -> Path:
    return home / KNOWN_BASES_NAME / f"{version.manifest_digest}.json"


def test_the_first_base_model_is_noted_with_what_was_not_checked(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    assert known_bases(catalog.home, version) == KnownBases()
    with caplog.at_level(logging.WARNING):
        require(catalog, version, base())
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(
        "a@1 does not record the weights, configuration and tokenizer of its base model. Checked: "
    )
    assert "Not checked: that here has the weights, configuration and tokenizer that" in message
    known = known_bases(catalog.home, version)
    assert known == KnownBases(base())
    assert known.first == ONE


def test_the_same_base_model_is_taken_again_without_a_word(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    require(catalog, version, base())
    caplog.clear()
    require(catalog, version, base())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (base(TWO), r"the weights \(expected 1{12}, found 2{12}\)"),
        (base(heads=8), r"num_attention_heads of the configuration \(expected 4, found 8\)"),
        (base(tokenizer="c" * 64), "the tokenizer"),
        (base(pooler="c" * 64), "the weights of the pooler"),
    ],
)
def test_another_base_model_is_refused_from_then_on(
    catalog: Catalog, version: Version, other: BaseModelInfo, words: str
) -> None:
    require(catalog, version, base())
    with pytest.raises(
        OtherBaseError, match=f"a@1 was first attached to tiny-bert, but here differs in {words}"
    ):
        require(catalog, version, other)
    assert known_bases(catalog.home, version) == KnownBases(base())


def test_what_the_manifest_records_needs_no_note(catalog: Catalog, version: Version) -> None:
    recorded = {
        name: getattr(base(), name)
        for name in ("fingerprint", "config", "config_digest", "tokenizer_digest", "parts")
    }
    require(catalog, version, base(), trained_on=recorded)
    assert not notes(catalog.home, version).exists()
    with pytest.raises(OtherBaseError, match=r"a@1 was trained on tiny-bert, but here differs"):
        require(catalog, version, base(TWO), trained_on=recorded)


def test_what_an_earlier_hubkit_did_not_record_is_noted_beside_its_fingerprint(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    old = {"fingerprint": ONE}
    with pytest.raises(OtherBaseError, match="the weights"):
        require(catalog, version, base(TWO), trained_on=old)
    assert not notes(catalog.home, version).exists()
    require(catalog, version, base(), trained_on=old)
    assert "a@1 does not record the configuration and tokenizer of its" in caplog.text
    assert known_bases(catalog.home, version).first is None
    with pytest.raises(OtherBaseError, match="num_attention_heads"):
        require(catalog, version, base(heads=8), trained_on=old)


def test_the_tokenizer_is_noted_when_it_is_seen_later(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    without = base().model_copy(update={"tokenizer_digest": None})
    require(catalog, version, without)
    caplog.clear()
    require(catalog, version, base())
    assert "a@1 does not record the tokenizer of its base model" in caplog.text
    assert known_bases(catalog.home, version) == KnownBases(base())


def test_notes_of_an_earlier_hubkit_still_hold(catalog: Catalog, version: Version) -> None:
    path = notes(catalog.home, version)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"first": ONE, "allowed": [TWO]}))
    assert known_bases(catalog.home, version).first == ONE
    require(catalog, version, base(TWO))
    require(catalog, version, base(ONE))
    with pytest.raises(OtherBaseError):
        require(catalog, version, base("3" * 64))
    assert json.loads(path.read_text())["allowed"] == [TWO]


def test_an_allowed_mismatch_is_noted_and_not_asked_for_again(
    catalog: Catalog, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = {"fingerprint": ONE}
    require(catalog, version, base(TWO), trained_on=recorded, allow_mismatch=True)
    assert "although it belongs to tiny-bert, which differs in the weights" in caplog.text
    assert known_bases(catalog.home, version) == KnownBases(allowed=(identity(base(TWO)),))
    require(catalog, version, base(TWO), trained_on=recorded)
    for other in (base("3" * 64), base(TWO, tokenizer="c" * 64), base(TWO, heads=8)):
        with pytest.raises(OtherBaseError):
            require(catalog, version, other, trained_on=recorded)


def test_what_is_noted_belongs_to_the_content_and_not_to_the_name(
    catalog: Catalog, version: Version
) -> None:
    require(catalog, version, base())
    again = publish_folder(catalog, PEFT / "lora" / "a", AdapterRef.parse("copy"), task="film")
    assert known_bases(catalog.home, again) == KnownBases(base())
    other = publish_folder(catalog, PEFT / "lora" / "b", AdapterRef.parse("a"), task="film")
    assert known_bases(catalog.home, other) == KnownBases()
