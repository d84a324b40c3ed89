import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import AdapterRef, Version, open_catalog
from tests.support.foreign import BASE, PEFT
from tests.support.hub import Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.models import base_folder
from tests.support.roundtrip import LORA, WEIGHTS, come_as

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
    result = run("pull", "film", "--from", "https://huggingface.co", status=2)
    assert result.stderr == (
        "Error: On a hub, an adapter is called owner/name: found film from "
        "https://huggingface.co.\n"
    )


def test_a_connection_that_breaks_and_is_gone_on_with_is_not_told(
    run: Run, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 1}
    assert run("pull", "bob/film", "--from", hub.url).stderr == ""
    assert hub.cut == {WEIGHTS: 0}


def test_unknown_adapter(run: Run, other: Path) -> None:
    result = run("pull", "flim", "--from", other, status=1)
    assert result.stderr == "Error: No adapter is called flim. Did you mean film?\n"
    result = run("pull", "nope", "--from", other, status=1)
    assert f"`HUBKIT_HOME={other} hubkit list` shows those" in result.stderr


def test_a_hub_is_told_from_a_folder(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.create("bob/film", LORA)
    assert run("pull", "bob/film", "--from", hub.url).stdout == "bob/film@1\n"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert run("pull", "hf:bob/film@main", "--name", "film").stdout == "film@1\n"
    shown = json.loads(run("show", "film", "--json").stdout)
    assert shown["pulled_from"] == [f"{hub.url}/bob/film@v1", f"{hub.url}/bob/film@main"]
    assert f"pulled from  {hub.url}/bob/film@" in run("show", "film").stdout


def test_what_is_no_address_is_told(run: Run, hub: Hub) -> None:
    assert "expected OWNER/NAME" in run("pull", "hf:film", status=2).stderr
    assert "expected only the hub" in (
        run("pull", "bob/film", "--from", f"{hub.url}/bob/film", status=2).stderr
    )
    assert "There is no repository" in run("pull", "bob/film", "--from", hub.url, status=1).stderr


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("bob", "/ada/film, or it is private and the token that was sent does not open it."),
        ("", "/ada/film, or it is private and was asked for without a token."),
        ("unknown", "/ada/film does not know the token that was sent: status 401"),
    ],
)
def test_what_is_private_opens_to_its_owner_alone(
    run: Run, hub: Hub, who: str, message: str
) -> None:
    hub.create("ada/film", LORA, private=True)
    come_as(hub, who)
    result = run("pull", "ada/film", "--from", hub.url, status=1)
    assert (result.stdout, message in result.stderr) == ("", True), result.stderr
    assert result.stderr.startswith("Error: ")
    come_as(hub, "ada reads")
    assert run("pull", "ada/film", "--from", hub.url).stdout == "ada/film@1\n"


def test_base_is_checked_and_a_mismatch_noted_when_allowed(
    run: Run, hub: Hub, tmp_path: Path
) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film", "--base", BASE)
    run("publish", "film", "--to", hub.url, "--base", "team/tiny-bert")
    other = base_folder(tmp_path / "other")
    pull = ("pull", "ada/film", "--from", hub.url, "--base")
    assert "differs in the weights" in run(*pull, other, status=1).stderr
    assert "ada/film" not in run("list").stdout
    run(*pull, other, "--allow-base-mismatch")
    known = json.loads(run("show", "ada/film", "--json").stdout)["known_bases"]
    assert known["first"] is None
    assert len(known["allowed"]) == 1
    assert run(*pull, BASE).stdout == "ada/film@2\n"


def test_base_is_checked_from_a_folder_too(run: Run, hub: Hub, tmp_path: Path) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film", "--base", BASE)
    home, mine = open_catalog().home, str(tmp_path / "mine")
    other = base_folder(tmp_path / "other")
    pull = ("pull", "film", "--from", home, "--base")
    assert "film was trained on" in run(*pull, other, status=1, HUBKIT_HOME=mine).stderr
    assert run("list", HUBKIT_HOME=mine).stdout == ""
    assert run(*pull, BASE, HUBKIT_HOME=mine).stdout == "film@1\n"


ESCAPE = "\x1b[2J\x1b]0;title\x07"


@pytest.mark.parametrize("where", ["file", "tag", "configuration", "manifest"])
def test_what_a_hub_calls_things_cannot_command_the_terminal(
    run: Run, misbehaving_hub: MisbehavingHub, publish: Publish, where: str
) -> None:
    hub, files, wanted = misbehaving_hub, dict(LORA), "bob/film"
    if where == "configuration":
        config = json.loads(files["adapter_config.json"])
        files["adapter_config.json"] = json.dumps(config | {"peft_type": ESCAPE}).encode()
    elif where == "manifest":
        published = open_catalog().manifest(publish("other", description="A film"))
        text = published.to_json().replace(b"A film", json.dumps(ESCAPE)[1:-1].encode())
        files["hubkit.json"] = text
    elif where == "file":
        hub.know_no_versions()  # of a version, it is asked for no such list
        entry = {"type": "file", "path": f"{ESCAPE}.txt", "size": 1, "oid": "a" * 40}
        hub.lies = {"/tree/": lambda entries: [*entries, entry]}
    else:
        tag, wanted = {"name": f"v1{ESCAPE}", "targetCommit": "a" * 40}, "bob/film@7"
        hub.lies = {"/refs": lambda refs: refs | {"tags": [tag]}}
    hub.create("bob/film", files)
    result = run("pull", wanted, "--from", hub.url, status=1)
    assert result.stderr.startswith("Error: ")
    assert result.output.replace("\n", "").isprintable()


def test_nor_can_what_lies_where_one_publishes(
    run: Run, misbehaving_hub: MisbehavingHub, publish: Publish
) -> None:
    publish("film")
    misbehaving_hub.create("ada/film")
    siblings = [{"rfilename": f"{ESCAPE}.txt"}]
    misbehaving_hub.lies = {"/models/ada/film": lambda told: told | {"siblings": siblings}}
    result = run("publish", "film", "--to", misbehaving_hub.url, status=1)
    assert "title .txt, which hubkit did not put there" in result.stderr
    assert result.output.replace("\n", "").isprintable()
