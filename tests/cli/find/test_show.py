import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from registry import AdapterRef, Manifest, Version, open_catalog, read_folder, write_manifest
from tests.cli.conftest import BASE
from tests.support.measurements import measurement

Run = Callable[..., Result]
Publish = Callable[..., Version]
FACTS = {
    "task": "sentiment",
    "task_type": "text-classification",
    "labels": ["bad", "good"],
    "language": "en",
    "license": "apache-2.0",
    "tags": ["film", "small"],
    "description": "Says what\nreviewers think.",
    "method": {"type": "seq_bn", "parameters": {"bottleneck_size": 4}},
    "metrics": [
        {"dataset": "d", "split": "test", "name": "f1", "value": 0.5, "higher_is_better": True}
    ],
    "training": {
        "arguments": {"epochs": 3},
        "seed": 7,
        "examples": 48,
        "seconds": 1.25,
        "library_versions": {"torch": "2.6"},
    },
}


def test_shows_the_facts_of_the_manifest(run: Run, publish: Publish) -> None:
    version = publish("film", message="First try", **FACTS)
    lines = [" ".join(line.split()) for line in run("show", "film").stdout.splitlines()]
    assert lines[0] == "film@1"
    assert {
        "kind adapter",
        "method seq_bn bottleneck_size=4",
        "task sentiment",
        "task type text-classification",
        "labels bad, good",
        "base model team/tiny-bert",
        "BertModel, 2 layers of 32",
        f"fingerprint {BASE['fingerprint']}",
        "language en",
        "license apache-2.0",
        "tags film, small",
        "description Says what reviewers think.",
        "message First try",
        f"digest {version.manifest_digest}",
        "f1 0.5000 (d, test)",
        "examples 48",
        "arguments epochs=3",
        "libraries torch=2.6",
        "adapter_config.json 13 B",
    } <= {*lines}


def test_shows_the_settings_of_the_base_model_that_are_recorded(run: Run, publish: Publish) -> None:
    settings = {"tokenizer_settings": {"lowercase": True}, "generation": {"num_beams": 4}}
    publish("film", base_model={**BASE, **settings})
    lines = [line.strip() for line in run("show", "film").stdout.splitlines()]
    assert {"tokenizer settings lowercase=True", "generation settings num_beams=4"} <= {*lines}


def test_shows_versions_with_aliases_and_yanks(run: Run, publish: Publish) -> None:
    publish("film")
    publish("film")
    run("alias", "film@2", "best")
    run("yank", "film@1", "--reason", "leaked")
    lines = run("show", "film").stdout.splitlines()
    first, second = lines[lines.index("Versions") + 1 :][:2]
    assert first.startswith("  2  ")
    assert first.endswith(" UTC, best")
    assert second.startswith("  1  ")
    assert second.endswith(" UTC, yanked: leaked")


def test_shows_lineage_both_ways(run: Run, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    run("stack", "one", "two", "--name", "both")
    run("pull", "one", "--from", open_catalog().home, "--name", "again")
    lines = run("show", "both").stdout.splitlines()
    assert lines[lines.index("Made of") + 1 :][:2] == [
        f"  one@1  {one.manifest_digest}",
        f"  two@1  {two.manifest_digest}",
    ]
    assert "Used by\n  both@1  stack\n" in run("show", "one").stdout


def test_json_has_manifest_lineage_and_versions(run: Run, publish: Publish) -> None:
    one = publish("one")
    publish("two")
    run("stack", "one", "two", "--name", "both")
    document = json.loads(run("show", "both", "--json").stdout)
    assert document["ref"] == "both@1"
    assert document["manifest"]["schema"] == 2
    assert document["parents"][0] == {
        "ref": "one@1",
        "digest": one.manifest_digest,
        "here": "one@1",
    }
    assert document["used_by"] == []
    assert [version["ref"] for version in document["versions"]] == ["both@1"]
    assert json.loads(run("show", "one", "--json").stdout)["used_by"] == ["both@1"]


def test_copies_the_files_to_a_new_folder(run: Run, publish: Publish, tmp_path: Path) -> None:
    version = publish("film")
    folder = tmp_path / "files"
    assert run("show", "film", "--files", folder).stdout.startswith("film@1\n")
    manifest = open_catalog().manifest(version)
    assert {path.name for path in folder.iterdir()} == {*manifest.files, "hubkit.json"}
    assert "is in the way" in run("show", "film", "--files", folder, status=1).stderr


def test_control_characters_do_not_reach_the_terminal(run: Run, publish: Publish) -> None:
    publish("film", description="turned\u202eround")  # the others are refused
    assert "turned round" in run("show", "film").stdout


def test_unknown_adapter_has_near_matches(run: Run, publish: Publish) -> None:
    publish("film")
    result = run("show", "flim", status=1)
    assert result.stderr == "Error: No adapter is called flim. Did you mean film?\n"


def test_unknown_version(run: Run, publish: Publish) -> None:
    publish("film")
    assert run("show", "film@3", status=1).stderr == ("Error: film has no version 3; it has 1.\n")


def test_what_a_card_says_is_told_as_its_word_beside_what_was_measured(
    run: Run, folder: Callable[..., Path], hubkit_home: Path
) -> None:
    path = folder()
    (path / "README.md").write_text(
        "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: text-classification}\n"
        "    dataset: {type: imdb, name: IMDB, split: test}\n"
        "    metrics: [{type: f1, value: 93.5}, {type: acc, value: high}]\n---\nHello.\n"
    )
    (path / "hubkit.json").unlink()
    fields = {"kind": "adapter", "method": {"type": "seq_bn"}, "base_model": BASE}
    write_manifest(path, Manifest.model_validate(fields))
    catalog = open_catalog()
    version = catalog.publish(AdapterRef.parse("film"), read_folder(path))
    catalog.record(version.ref, [measurement(value=0.75)])
    text = run("show", "film").stdout
    assert "\nMeasured\n  accuracy  0.7500 (95 % from 0.2500 to 0.8750) on test.csv#" in text
    assert "\nSaid by its card, not measured here\n  f1  93.5 (IMDB, test)\n" in text
    document = json.loads(run("show", "film", "--json").stdout)
    assert document["claims"] == [
        {"metric": "f1", "value": 93.5, "dataset": "IMDB", "split": "test"}
    ]
    assert [one["value"] for one in document["measurements"]] == [0.75]
