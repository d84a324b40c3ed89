import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from hubkit.cli import SECTIONS, main
from hubkit.cli.output import version_json
from registry import Version

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SAYS_ONE_SENTENCE = {"alias", "yank", "delete", "login", "move", "serve"}
WRITES_A_FILE = {"export"}
COMMANDS = sorted(name for names in SECTIONS.values() for name in names)


def params(command: str) -> list[click.Parameter]:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    parts = found.commands.values() if isinstance(found, click.Group) else ()
    return [*found.params, *(param for part in parts for param in part.params)]


def section(command: str) -> str:
    """What docs/cli.md says under the heading of a command."""
    found = re.search(rf"^### hubkit {command}\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no heading for {command}"
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run: Callable[..., Result], command: str) -> None:
    shown = run(command, "--help").stdout
    assert re.search(rf"^  Example:\n    hubkit {command}\b", shown, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command: str) -> None:
    options = [p for p in params(command) if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_what_prints_data_has_json(command: str) -> None:
    names = {name for parameter in params(command) for name in parameter.opts}
    assert ("--json" in names) == (command not in SAYS_ONE_SENTENCE | WRITES_A_FILE)


def test_docs_say_what_each_json_document_holds() -> None:
    table = DOCS.partition("## JSON")[2].partition("A version:")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[1:]
    documented = {command for row in rows for command in row.split(", ")}
    assert documented == {*COMMANDS} - SAYS_ONE_SENTENCE - WRITES_A_FILE


@pytest.mark.parametrize("command", COMMANDS)
def test_docs_have_an_example(command: str) -> None:
    assert re.search(rf"^hubkit {command} ", section(command), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_docs_name_only_options_that_exist(command: str) -> None:
    known = {name for one in params(command) for name in (*one.opts, *one.secondary_opts)}
    assert set(re.findall(r"--[a-z][a-z-]*", section(command))) - known - {"--help"} == set()


def test_docs_name_no_command_that_does_not_exist() -> None:
    headings = re.findall(r"^### hubkit (\S+)$", DOCS, re.MULTILINE)
    assert sorted(headings) == COMMANDS


def test_docs_list_the_keys_of_a_version(publish: Callable[..., Version]) -> None:
    table = DOCS.partition("## JSON")[2]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == [*version_json(publish("film"))]
