"""hubkit doctor."""

from __future__ import annotations

import sys

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_facts, print_json


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Look at what the registry rests on.

    Programs, file system, permissions, space, database.

    The exit status is 1 if something keeps hubkit from working.

    \b
    Example:
      hubkit doctor
    """
    from hubkit.cli.cures import with_cure
    from registry.home import find_catalog
    from registry.maintenance.doctor import examine

    checks = [
        (check.name, check.state, with_cure(check.text, check.about))
        for check in examine(find_catalog())
    ]
    if as_json:
        print_json([{"name": name, "state": state, "text": text} for name, state, text in checks])
    else:
        marks = {"ok": "", "note": "note: ", "problem": "PROBLEM: "}
        print_facts([(name, f"{marks[state]}{text}") for name, state, text in checks])
    sys.exit(1 if any(state == "problem" for _, state, _ in checks) else 0)
