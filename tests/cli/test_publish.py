import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from registry import AdapterRef, open_catalog

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


def test_same_content_twice_is_one_version(run: Run, folder: MakeFolder) -> None:
    path = folder()
    run("publish", path, "--name", "film")
    assert run("publish", path, "--name", "film").stdout == "film@1\n"
    assert run("publish", folder(), "--name", "film").stdout == "film@2\n"


def test_fact_that_no_manifest_holds(run: Run, folder: MakeFolder) -> None:
    path = folder()
    result = run("publish", path, "--name", "film", "--task", "", status=1)
    assert result.stderr.startswith(f"Error: What is to be published from {path} is not")
    assert "task: " in result.stderr


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
    assert "not 'a b'" in run("publish", folder(), "--name", "a b", status=1).stderr
    assert "found a@1" in run("publish", folder(), "--name", "a@1", status=1).stderr
