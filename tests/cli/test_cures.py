"""The library states facts, and one table says which option or command mends what it refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from hubkit.cli import SECTIONS, main
from hubkit.cli.cures import CURES, cure_of
from registry import errors
from registry.errors import HubkitError
from tests.support.imports import ROOT, source_files

COMMANDS = [name for names in SECTIONS.values() for name in names]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
COMMAND = re.compile(rf"\bhubkit (?:{'|'.join(COMMANDS)})\b")

# What says so on purpose, and why.
MAY_NAME = {
    "registry/server/table.py": {"--token"},  # of the program `hf`
    # A model card is written for people, who are shown the commands that get and run the adapter.
    "hubkit/hub/card.py": {"hubkit pull", "hubkit predict", "--from"},
    # So are the pages of a hub, which show the lines that push to it, and use what it keeps.
    "registry/server/pages/front.py": {"--repo-type"},
    "registry/server/pages/versions/using.py": {
        *("hubkit pull", "hubkit predict", "--from", "--repo-type", "--revision"),
    },
    # The key of a lock, which older processes know by these words.
    "registry/database/postgresql.py": {"hubkit gc"},
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Each command with what is typed to run it, such as ``hubkit db upgrade``."""
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        yield f"hubkit {name}", command
        if isinstance(command, click.Group):
            yield from ((f"hubkit {name} {part}", it) for part, it in command.commands.items())


OPTIONS_OF = {
    typed: {option for parameter in command.params for option in parameter.opts}
    for typed, command in commands()
}


def sentences() -> Iterator[tuple[type[HubkitError], str]]:
    """Every sentence of the table; of a function, those for some facts of each sort."""
    for kind, cure in CURES.items():
        if not callable(cure):
            yield from ((kind, sentence) for sentence in cure)
            continue
        for given in (None, ("a", "b")):
            for found in (None, ("a", "b")):
                for expected in (None, 0, 3):
                    error = kind("It.", "it", given=given, expected=expected, found=found)
                    yield from ((kind, sentence) for sentence in cure(error))


def named_by(text: str) -> set[str]:
    return {*OPTION.findall(text), *COMMAND.findall(text)}


def strings_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_only_the_command_line_names_options_and_commands() -> None:
    found = {}
    for module, path in source_files().items():
        if not module.startswith("hubkit.cli"):
            name = path.relative_to(ROOT).as_posix()
            named = {word for text in strings_of(path) for word in named_by(text)}
            if named != MAY_NAME.get(name, set()):
                found[name] = named
    assert found == {}


@pytest.mark.parametrize(("kind", "sentence"), sorted({*sentences()}, key=str))
def test_every_cure_names_what_there_is(kind: type[HubkitError], sentence: str) -> None:
    assert getattr(errors, kind.__name__) is kind
    assert sentence.endswith(".")
    quoted = re.findall(r"`([^`]*)`", sentence)
    for typed in quoted:
        words = [word for word in typed.split() if "=" not in word]
        known = max((c for c in OPTIONS_OF if typed.startswith(c)), key=len, default=None)
        assert known is not None, typed
        assert {word for word in words if word.startswith("--")} <= OPTIONS_OF[known], typed
    bare = set(OPTION.findall(re.sub(r"`[^`]*`", "", sentence)))
    assert any(bare <= options for options in OPTIONS_OF.values()), bare
    assert quoted or bare, "a cure that names neither belongs in the message"


def test_a_class_without_a_row_has_the_cure_of_its_parent() -> None:
    class OwnError(errors.DamagedIndexError):
        pass

    assert cure_of(OwnError("It.")) == "`hubkit fsck --full --repair` makes it anew."
    assert cure_of(HubkitError("It.")) == ""


def test_an_option_is_named_only_where_the_command_has_it() -> None:
    error = errors.UnknownTaskError("It does not say what it does.")
    publish = main.get_command(click.Context(main), "publish")
    listing = main.get_command(click.Context(main), "list")
    assert cure_of(error, publish) == "Say it with --task, such as --task sentiment."
    damaged = errors.DamagedIndexError("It.")
    for command in (publish, listing):
        assert cure_of(damaged, command).startswith("`hubkit fsck")
    assert cure_of(errors.UnknownParentsError("It."), listing) == ""


def test_the_cure_follows_the_message(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise errors.DamagedIndexError("The search index is damaged.", found="nothing")

    monkeypatch.setattr("registry.open_catalog", fail, raising=False)
    assert run("list", status=1).stderr == (
        "Error: The search index is damaged. `hubkit fsck --full --repair` makes it anew.\n"
    )
