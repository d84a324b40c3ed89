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
    from dataclasses import asdict

    from registry.home import find_catalog
    from registry.maintenance.doctor import examine

    checks = examine(find_catalog())
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        marks = {"ok": "", "note": "note: ", "problem": "PROBLEM: "}
        print_facts([(check.name, f"{marks[check.state]}{check.text}") for check in checks])
    sys.exit(1 if any(check.state == "problem" for check in checks) else 0)
