from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCardData, parse_eval_result_entries
from hypothesis import given
from hypothesis import strategies as st

from hubkit.hub.card import write_card, write_results
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, Manifest, Version, read_folder, write_manifest
from registry.folders.card import BASE_TAG, Card, parse_card
from tests.support.foreign import BERT, PEFT
from tests.support.measurements import measurement

METRIC = {
    "dataset": "films.csv",
    "split": "validation",
    "name": "accuracy",
    "value": 0.875,
    "higher_is_better": True,
}
BASE = {"id": "team/bert", "fingerprint": "ab" * 32}
Publish = Callable[..., tuple[Version, Manifest]]


@pytest.fixture
def publish(catalog: Catalog, tmp_path: Path) -> Publish:
    def publish(file: str, **fields: Any) -> tuple[Version, Manifest]:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / file).write_text("{}")
        defaults = {"kind": "adapter", "method": {"type": "lora"}, "base_model": BASE}
        write_manifest(folder, Manifest.model_validate(defaults | fields))
        read = read_folder(folder)
        return catalog.publish(AdapterRef.parse("film"), read), read.manifest

    return publish


def test_metrics_become_a_model_index_that_the_stock_client_reads(publish: Publish) -> None:
    version, manifest = publish(
        "notes.json", metrics=[METRIC], task="film", task_type="text-classification"
    )
    card = parse_card(write_card(version, manifest, "ada/film", revision="v1"), Path("README.md"))
    (result,) = ModelCardData(**card.data).eval_results or []
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.875)
    assert (result.dataset_name, result.dataset_split) == ("films.csv", "validation")
    assert (result.task_type, result.task_name) == ("text-classification", "film")


def test_facts_labels_and_usage_stand_in_the_text(publish: Publish) -> None:
    version, manifest = publish(
        "notes.json", labels=["a|b", "c"], description="Short films.", language="en"
    )
    text = write_card(version, manifest, "ada/film", revision="v3")
    assert "# ada/film\n\nShort films." in text
    assert "| Labels | a\\|b, c |" in text
    assert "hubkit pull ada/film@3\n" in text
    assert version.manifest_digest in text
    assert "ab" * 32 in text


@pytest.mark.parametrize(
    ("source", "library", "line"),
    [
        (
            PEFT / "lora" / "a",
            "peft",
            'PeftModel.from_pretrained(model, "ada/film", revision="v1")',
        ),
        (
            BERT / "seq_bn" / "a",
            "adapter-transformers",
            'model.load_adapter("ada/film", version="v1", use_safetensors=True, set_active=True)',
        ),
    ],
)
def test_the_stock_library_that_reads_the_files_is_named_with_a_line_that_loads_them(
    catalog: Catalog, source: Path, library: str, line: str
) -> None:
    version = publish_folder(catalog, source, AdapterRef.parse("film"), task="film")
    text = write_card(version, catalog.manifest(version), "ada/film", revision="v1")
    assert f"library_name: {library}" in text
    assert line in text
    assert "HF_ENDPOINT" not in text
    url = "https://hub.example.org"
    there = write_card(version, catalog.manifest(version), "ada/film", revision="v1", endpoint=url)
    assert f"hubkit pull ada/film@1 --from {url}\n" in there
    assert there.index(f'os.environ["HF_ENDPOINT"] = "{url}"') < there.index("import AutoModel")


def test_a_base_model_is_a_text_in_the_lines_to_copy_whatever_it_is_called(
    catalog: Catalog,
) -> None:
    source = PEFT / "lora" / "a"
    version = publish_folder(catalog, source, AdapterRef.parse("film"), task="film")
    manifest = catalog.manifest(version)
    base = manifest.base_model.model_copy(update={"id": 'x"); print("y'})
    text = write_card(version, manifest.changed("It", base_model=base), "ada/film", revision="v1")
    assert 'from_pretrained("x\\"); print(\\"y"' in text


def test_the_same_version_has_the_same_card(publish: Publish) -> None:
    version, manifest = publish("notes.json", metrics=[METRIC], tags=["b", "a"])
    cards = {write_card(version, manifest, "ada/film", revision="v1") for _ in range(5)}
    assert len(cards) == 1


def test_what_its_own_card_says_stays_unless_the_manifest_has_it_differently(
    publish: Publish,
) -> None:
    version, manifest = publish("notes.json", license="mit", tags=["new"])
    own = Card(
        tags=("old",),
        data={
            "license": "gpl-3.0",
            "tags": ["old"],
            "thumbnail": "x.png",
            "widget": [{"text": "a"}],
        },
        text="# Mine",
    )
    card = parse_card(
        write_card(version, manifest, "ada/film", revision="v1", own=own), Path("README.md")
    )
    assert card.license == "mit"
    assert card.data["thumbnail"] == "x.png"
    assert card.data["widget"] == [{"text": "a"}]
    assert card.tags == ("old", "adapter", "hubkit", "lora", "new")
    assert card.text.startswith("# Mine\n\n## This version")


def test_metrics_stand_in_place_of_those_that_its_own_card_had(publish: Publish) -> None:
    version, manifest = publish("notes.json", metrics=[METRIC], task_type="text-classification")
    task = {"task": {"type": "x"}, "dataset": {"type": "y", "name": "y"}}
    old = [{"name": "old", "results": [{**task, "metrics": [{"type": "f1", "value": 0.1}]}]}]
    own = Card(data={"model-index": old})
    text = write_card(version, manifest, "ada/film", revision="v1", own=own)
    (result,) = ModelCardData(**parse_card(text, Path("README.md")).data).eval_results or []
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.875)


LINES = st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r")
WORD = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(
    tags=st.lists(WORD, max_size=4, unique=True),
    license=WORD,
    task=WORD,
    labels=st.lists(WORD, min_size=1, max_size=3, unique=True),
    description=st.text(LINES, max_size=80),
)
def test_whatever_the_manifest_says_the_card_says_the_same(
    tags: list[str], license: str, task: str, labels: list[str], description: str
) -> None:
    manifest = Manifest.model_validate(
        {
            "kind": "adapter",
            "method": {"type": "lora"},
            "base_model": BASE,
            "tags": tags,
            "license": license,
            "task": task,
            "labels": labels,
            "description": description,
        }
    )
    version = Version(
        ref=AdapterRef.parse("film@1"),
        manifest_digest=manifest.digest,
        created_at=datetime.now(UTC),
        author="ada",
        message="",
        base_model="team/bert",
        base_fingerprint=None,
        size=0,
        metrics=(),
        aliases=(),
        yanked_at=None,
        yank_reason=None,
        kind="adapter",
        method="lora",
        task=task,
        task_type=None,
        language=None,
        license=license,
        description=description,
        tags=tuple(tags),
    )
    text = write_card(version, manifest, "ada/film", revision="v1")
    card = parse_card(text, Path("README.md"))
    assert card.license == license
    assert card.base_models == ("team/bert",)
    # What starts like the name of a base model as a tag only repeats the field for it.
    told = {"adapter", "hubkit", "lora", task, *tags}
    assert set(card.tags) == {tag for tag in told if not tag.startswith(BASE_TAG)}
    assert "## This version" in card.text


def test_what_was_recorded_stands_first_with_its_interval_and_the_digest_of_its_rows(
    publish: Publish,
) -> None:
    version, manifest = publish("notes.json", metrics=[METRIC], task_type="text-classification")
    told = measurement(value=0.75)
    text = write_card(version, manifest, "ada/film", revision="v1", measurements=[told])
    card = parse_card(text, Path("README.md"))
    first, second = ModelCardData(**card.data).eval_results or []
    assert (first.metric_value, first.dataset_split) == (0.75, "test")
    assert first.dataset_args == {"rows": told.rows, "sha256": told.data_sha256}
    assert first.metric_args == {"confidence_interval": [told.low, told.high]}
    assert second.metric_value == 0.875


def test_results_on_data_sets_of_the_hub_are_in_the_form_that_it_looks_for() -> None:
    told = [
        measurement(dataset="stanfordnlp/imdb"),
        measurement(dataset="stanfordnlp/imdb", metric="f1_macro"),
        measurement(dataset="test.csv"),
    ]
    text = write_results(told)
    assert text is not None
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.value) == ("stanfordnlp/imdb", 0.5)
    assert entry.notes == "accuracy on test, 8 rows, 95 % from 0.2500 to 0.8750"
    assert write_results(told[2:]) is None
