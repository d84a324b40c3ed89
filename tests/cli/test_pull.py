import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import AdapterRef, Version, open_catalog

Run = Callable[..., Result]
Publish = Callable[..., Version]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, publish: Publish) -> Path:
    """Another registry with a stack in it; what is called after this has an empty one."""
    publish("german")
    publish("film")
    run("stack", "german", "film", "--name", "both")
    other = open_catalog().home
    monkeypatch.setenv("HUBKIT_HOME", str(tmp_path / "own"))
    return other


def test_brings_what_the_adapter_is_made_of(run: Run, other: Path) -> None:
    assert run("pull", "both", "--from", other).stdout == "both@1\n"
    names = [line.split("\t")[0] for line in run("list").stdout.splitlines()]
    assert sorted(names) == ["both@1", "film@1", "german@1"]


def test_twice_changes_nothing(run: Run, other: Path) -> None:
    first = run("pull", "both", "--from", other, "--json").stdout
    assert run("pull", "both@1", "--from", other, "--json").stdout == first


def test_another_name(run: Run, other: Path) -> None:
    result = run("pull", "film", "--from", other, "--name", "ada/film", "--json")
    assert json.loads(result.stdout)["ref"] == "ada/film@1"
    assert open_catalog().resolve(AdapterRef("ada", "film")).number == 1


def test_folder_that_is_no_registry(run: Run, tmp_path: Path) -> None:
    result = run("pull", "film", "--from", tmp_path, status=1)
    assert result.stderr.startswith(f"Error: There is no registry in {tmp_path}: ")
    assert not (tmp_path / "hubkit.db").exists()


def test_a_hub_has_no_adapters_without_owner(run: Run) -> None:
    result = run("pull", "film", "--from", "https://huggingface.co", status=1)
    assert result.stderr == (
        "Error: On a hub, an adapter is called owner/name, and --from names the hub alone: found "
        "film from https://huggingface.co.\n"
    )


def test_unknown_adapter(run: Run, other: Path) -> None:
    result = run("pull", "flim", "--from", other, status=1)
    assert result.stderr == "Error: No adapter is called flim. Did you mean film?\n"
