"""hubkit doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from registry.maintenance.doctor import Check


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check what the registry needs to work.

    It looks at programs, file system, permissions, space and database. The exit status is
    1 if something keeps hubkit from working.

    \b
    Example:
      hubkit doctor
    """
    from hubkit.cli.cures import with_cure
    from registry.home import find_catalog
    from registry.maintenance.doctor import examine

    checks = [
        (check.name, check.state, f"{with_cure(check.text, check.about)}{_cure(check)}")
        for check in examine(find_catalog())
    ]
    if as_json:
        print_json([{"name": name, "state": state, "text": text} for name, state, text in checks])
    else:
        marks = {"ok": "", "note": "note: ", "problem": "PROBLEM: "}
        print_facts([(name, f"{marks[state]}{text}") for name, state, text in checks])
    sys.exit(1 if any(state == "problem" for _, state, _ in checks) else 0)


def _cure(check: Check) -> str:
    """A finding that raises no error, but has a command that mends it."""
    if check.name == "leftovers" and check.state == "note":
        return " `hubkit gc` removes what is old of that."
    return ""
