from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.search.search import search
from registry.tables.listings import base_family, base_name, fold_family

REF = AdapterRef.parse("alice/sst2")


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("BertModel", "bert"),
        ("XLMRobertaModel", "xlmroberta"),
        ("RobertaForSequenceClassification", "roberta"),
        ("GPT2LMHeadModel", "gpt2"),
        ("DebertaV2Model", "debertav2"),
        ("T5EncoderModel", "t5"),
        ("Model", "model"),
    ],
)
def test_a_family_is_what_a_class_is_named_after(architecture: str, family: str) -> None:
    assert base_family(architecture) == family


def test_a_family_is_found_in_any_spelling() -> None:
    assert fold_family("XLM-RoBERTa") == fold_family("xlm_roberta") == "xlmroberta"


@pytest.mark.parametrize(("base", "name"), [("a/b", "b"), ("/x/y/", "y"), ("b", "b"), ("/", "/")])
def test_a_base_models_name_is_the_end_of_its_id(base: str, name: str) -> None:
    assert base_name(base) == name


def listed(catalog: Catalog) -> list[str]:
    return [str(version.ref) for version in search(catalog).items]


def test_the_listing_follows_yanks_and_deletion(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    first, second = (catalog.publish(REF, make_folder()) for _ in range(2))
    assert listed(catalog) == ["alice/sst2@2"]
    catalog.yank(second.ref, "bad")
    assert listed(catalog) == ["alice/sst2@1"]
    catalog.yank(first.ref, "bad")
    assert listed(catalog) == []
    catalog.unyank(second.ref)
    assert listed(catalog) == ["alice/sst2@2"]
    catalog.delete(REF)
    assert listed(catalog) == []


def test_pulls_are_counted_once_a_registry(
    catalog: Catalog, make_folder: Callable[..., Folder], tmp_path: Path
) -> None:
    other = AdapterRef.parse("other")
    for ref in (REF, other):
        catalog.publish(ref, make_folder())

    def most_pulled() -> str:
        return str(search(catalog, sort="downloads").items[0].ref.repository)

    one, two = (open_catalog(tmp_path / name) for name in ("one", "two"))
    one.pull(REF, catalog)
    one.pull(REF, catalog)
    assert most_pulled() == "alice/sst2"
    one.pull(other, catalog)
    assert most_pulled() == "other"  # the later one of two that are equal
    two.pull(REF, catalog)
    assert most_pulled() == "alice/sst2"
    # A new version keeps what was counted.
    catalog.publish(REF, make_folder())
    assert most_pulled() == "alice/sst2"
