import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from hubkit.cli import main
from registry import AdapterRef, open_catalog
from tests.support.foreign import BASE, BERT, PEFT
from tests.support.hub import Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import come_as

Run = Callable[..., Result]
MakeFolder = Callable[..., Path]


def test_publishes_a_folder_as_it_is(run: Run, folder: MakeFolder) -> None:
    path = folder(task="sentiment", tags=["en"], description="Films")
    assert run("publish", path, "--name", "film").stdout == "film@1\n"
    version = open_catalog().resolve(AdapterRef.parse("film"))
    assert (version.task, version.tags, version.description) == ("sentiment", ("en",), "Films")


def test_facts_given_stand_in_place_of_those_in_the_folder(run: Run, folder: MakeFolder) -> None:
    path = folder(task="sentiment", tags=["en"], description="Films")
    before = (path / "hubkit.json").read_bytes()
    document = json.loads(
        run(
            *("publish", path, "--name", "ada/film", "--task", "opinion", "--tag", "a"),
            *("--tag", "b", "--license", "mit", "--language", "de", "--description", "Filme"),
            *("--message", "Translated", "--json"),
        ).stdout
    )
    facts = ("ref", "task", "tags", "license", "language", "description", "message")
    assert [document[fact] for fact in facts] == [
        "ada/film@1",
        "opinion",
        ["a", "b"],
        "mit",
        "de",
        "Filme",
        "Translated",
    ]
    assert (path / "hubkit.json").read_bytes() == before


@pytest.mark.parametrize("terminal", [True, False])
def test_people_are_told_what_they_wait_for(
    folder: MakeFolder,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    path = folder()
    main(["publish", str(path), "--name", "film"], standalone_mode=False)
    expected = f"Checking {path} ...\n" if terminal else ""
    assert capsys.readouterr() == ("film@1\n", expected)


def test_same_content_twice_is_one_version(run: Run, folder: MakeFolder) -> None:
    path = folder()
    run("publish", path, "--name", "film")
    assert run("publish", path, "--name", "film").stdout == "film@1\n"
    assert run("publish", folder(), "--name", "film").stdout == "film@2\n"


def test_fact_that_no_manifest_holds(run: Run, folder: MakeFolder) -> None:
    path = folder()
    result = run("publish", path, "--name", "film", "--task", "a\nb", status=1)
    assert result.stderr.startswith(f"Error: What is to be published from {path} is not")
    assert "task: " in result.stderr


@pytest.mark.parametrize("option", ["--task", "--label", "--tag", "--license", "--language"])
def test_option_that_says_nothing_is_named(run: Run, option: str) -> None:
    result = run("publish", PEFT / "lora" / "a", "--name", "film", option, " ", status=2)
    assert f"Invalid value for '{option}': it is empty." in result.stderr


def test_label_given_twice_is_named(run: Run) -> None:
    labels = ("--label", "bad", "--label", "bad", "--label", "good")
    folder = PEFT / "seq_cls" / "a"
    result = run("publish", folder, "--name", "film", "--task", "t", *labels, status=1)
    assert result.stderr.startswith(f"Error: {folder}: the label bad was given twice")


def test_folder_without_manifest(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("publish", tmp_path / "empty", "--name", "film", status=1)
    assert result.stderr.startswith(
        f"Error: {tmp_path / 'empty'} is not an adapter's folder: it has no hubkit.json. "
    )


def test_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("publish", tmp_path / "absent", "--name", "film", status=1)
    assert result.stderr == (
        f"Error: Expected an adapter's folder at {tmp_path / 'absent'}, found nothing.\n"
    )


def test_folder_whose_file_was_edited(run: Run, folder: MakeFolder) -> None:
    path = folder()
    (path / "adapter_config.json").write_text("{}")
    result = run("publish", path, "--name", "film", status=1)
    assert result.stderr.startswith(f"Error: {path / 'adapter_config.json'}: hubkit.json says ")


def test_bad_name(run: Run, folder: MakeFolder) -> None:
    assert "not 'a b'" in run("publish", folder(), "--name", "a b", status=2).stderr
    assert "found a@1" in run("publish", folder(), "--name", "a@1", status=2).stderr


def test_a_folder_of_another_library_needs_only_a_name_and_a_task(run: Run) -> None:
    lora = PEFT / "seq_cls" / "a"
    labels = ("--label", "neg", "--label", "neu", "--label", "pos")
    assert "Name them with --label" in run("publish", lora, "--name", "film", status=1).stderr
    assert "--task sentiment" in run("publish", lora, "--name", "film", *labels, status=1).stderr
    facts = ("--task", "film", *labels)
    document = json.loads(
        run("publish", lora, "--name", "film", *facts, "--base", BASE, "--json").stdout
    )
    assert (document["method"], document["base_model"]) == ("lora", str(BASE))
    manifest = json.loads(run("show", "film", "--json").stdout)["manifest"]
    assert manifest["labels"] == ["neg", "neu", "pos"]


def test_a_fusion_names_its_parents(run: Run) -> None:
    for name in "ab":
        run("publish", BERT / "seq_bn" / name, "--name", f"my-{name}", "--task", "film")
    fusion = ("publish", BERT / "seq_bn" / "fusion_ab_static", "--name", "both", "--task", "film")
    assert "--parent" in run(*fusion, status=1).stderr
    assert run(*fusion, "--parent", "my-a", "--parent", "my-b").stdout == "both@1\n"


def test_a_name_goes_to_a_hub(run: Run, hub: Hub) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film")
    url = f"{hub.url}/ada/film/tree/v1"
    assert run("publish", "film", "--to", hub.url).stdout == f"{url}\n"
    assert run("publish", "film", "--to", hub.url).stdout == f"{url} (there already)\n"
    document = json.loads(run("publish", "film@1", "--to", hub.url, "--json").stdout)
    assert (document["ref"], document["url"], document["new"]) == ("film@1", url, False)
    run("publish", "film", "--to", f"{hub.url}/ada/other", "--private")
    assert hub.repos["ada/other"].private


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("bob", "The token that was sent has no right to write to it"),
        ("ada reads", "The token that was sent has no right to write to it"),
        ("unknown", "/ada/film does not know the token that was sent: status 401"),
        ("", "does not know you, as there is no token for it"),
    ],
)
def test_a_token_that_is_not_good_for_it_is_told(
    run: Run, hub: Hub, who: str, message: str
) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film")
    repo = hub.create("ada/film", private=True)
    come_as(hub, who)
    to = hub.url if not who else f"{hub.url}/ada/film"
    result = run("publish", "film", "--to", to, status=1)
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "hubkit login --to" in result.stderr
    assert len(repo.commits) == 1


def test_a_tag_that_was_missing_is_set_without_a_word_of_the_client(
    run: Run, misbehaving_hub: MisbehavingHub, caplog: pytest.LogCaptureFixture
) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film")
    hub = misbehaving_hub
    hub.know_no_versions()
    hub.create("ada/film")
    hub.refusals = {"/tag/": 403}
    run("publish", "film", "--to", hub.url, status=1)
    hub.refusals = {}
    run("publish", "film", "--to", hub.url)
    assert hub.repos["ada/film"].tags
    assert not [one for one in caplog.records if one.name.startswith("huggingface_hub")]


def test_what_does_not_go_together_is_a_usage_error(
    run: Run, folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Missing option '--name'" in run("publish", folder(), status=2).stderr
    assert "--private is for a hub" in (
        run("publish", folder(), "--name", "a", "--private", status=2).stderr
    )
    assert "--task, --tag: what is published already does not change" in (
        run("publish", "a", "--to", "hf:", "--task", "x", "--tag", "y", status=2).stderr
    )
    assert "is not a hub's address" in run("publish", "a", "--to", "/shared", status=2).stderr


def test_a_folder_is_published_here_before_it_goes_to_a_hub(run: Run, hub: Hub) -> None:
    folder = PEFT / "lora" / "a"
    result = run("publish", folder, "--to", hub.url, status=2)
    assert f"First: hubkit publish {folder} --name NAME. Then: hubkit publish NAME --to" in (
        result.stderr
    )
    assert hub.repos == {}


def test_the_base_model_of_a_folder_gets_its_name_on_the_way(run: Run, hub: Hub) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film", "--base", BASE)
    assert (
        "Say with --base which one it is."
        in run("publish", "film", "--to", hub.url, status=1).stderr
    )
    result = run("publish", "film", "--to", hub.url, "--base", "team/bert")
    assert result.stdout == f"{hub.url}/ada/film/tree/v2\n"
    assert result.stderr.startswith("Note: film@1 names its base model by a folder")
