"""Show the options of each command below its section in cli.md, when the site is built."""

import re
from typing import Any

import click
from click.testing import CliRunner

from hubkit.cli import main

_SECTION = re.compile(r"^### hubkit (\S+)\n.*?(?=^##)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    if page.file.src_uri != "cli.md":
        return markdown
    return _SECTION.sub(lambda found: found[0] + _options(found[1]), markdown)


def _options(name: str) -> str:
    """What ``--help`` says of a command and those in it, to be unfolded."""
    command = main.get_command(click.Context(main), name)
    inner = command.commands if isinstance(command, click.Group) else ()
    helps = [
        CliRunner().invoke(main, [name, *one, "--help"], prog_name="hubkit").output
        for one in [[], *([each] for each in inner)]
    ]
    lines = "\n\n".join(helps).splitlines()
    return "\n".join(
        ['??? note "Options"', "    ```text", *(f"    {x}" for x in lines), "    ```", "\n"]
    )
