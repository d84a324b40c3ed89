"""The command line: one file for each command, which parses, makes one library call, and prints.

A command's file is imported when the command runs. Heavy modules are imported in its body, so no
command waits for modules that only others need.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from hubkit.cli.output import one_line
from hubkit.processes import one_voice
from registry.errors import HubkitError, InvalidNameError, did_you_mean

# Modules are never garbage: scanning them every 700 objects and at exit took a quarter of the time
# of `hubkit list`.
gc.set_threshold(50_000)
atexit.register(gc.freeze)

SECTIONS = {
    "compose": (
        *("train", "fuse", "stack", "mix", "average", "prune"),
        *("predict", "evaluate", "attention", "explain"),
    ),
    "find": ("list", "suggest", "leaderboard", "show", "lineage", "diff", "search"),
    "share": (
        *("publish", "pull", "login", "export", "import", "export-onnx"),
        *("alias", "yank", "move", "delete"),
    ),
    "serve": ("serve", "user", "org", "token"),
    "maintain": ("log", "gc", "fsck", "backup", "restore", "rebuild", "doctor", "db"),
}
"""The folder of each command's file; in the order of use."""

_FOLDERS = {command: folder for folder, commands in SECTIONS.items() for command in commands}

# Modules that cannot be called what their command is.
_MODULES = {
    "list": "listing",
    "export": "exporting",
    "import": "importing",
    "export-onnx": "export_onnx",
}


class _Hubkit(click.Group):
    """Imports the command that is asked for, and prints what hubkit refuses to do."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, and say so if standard output does not take what it prints."""
        if sys.stderr is None:  # closed: notes go nowhere
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        if sys.stdout is None:
            _refuse_output("it is closed")
        try:
            return super().main(*args, **extra)
        except OSError:
            # Of a document that was not taken, nothing may be left to flush.
            _write_out("\n")
            raise
        finally:
            _write_out("")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_FOLDERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _FOLDERS:
            return None
        path = f"{_FOLDERS[cmd_name]}.{_MODULES.get(cmd_name, cmd_name)}"
        command: click.Command = import_module(f"hubkit.cli.{path}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _FOLDERS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{name}'.{did_you_mean(name, _FOLDERS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title.capitalize()):
                formatter.write_dl([(name, self._sentence(ctx, name)) for name in names])

    def _sentence(self, ctx: click.Context, name: str) -> str:
        """The whole first line of a command's help; click would cut it."""
        command = self.get_command(ctx, name)
        return ((command and command.help) or "").partition("\n\n")[0]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Neither a database nor a tokenizer takes what is not Unicode.
        for argument in args:
            if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
                raise click.UsageError(f"{argument!a} is not valid UTF-8.", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        # Notes of connections that break and are resumed; one that stays broken is an error.
        logging.getLogger("huggingface_hub.file_download").setLevel(logging.ERROR)
        # Notes of a commit that is there already, if only the tag was missing.
        logging.getLogger("huggingface_hub.hf_api").setLevel(logging.ERROR)
        notes = logging.getLogger("hubkit")
        notes.addHandler(handler := _Notes(logging.WARNING))
        try:
            with one_voice():
                return self._invoke(ctx)
        finally:
            notes.removeHandler(handler)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HubkitError as error:
            from hubkit.cli.cures import with_cure

            ran = self.get_command(ctx, ctx.invoked_subcommand or "")
            wrong = isinstance(error, InvalidNameError)  # something on the command line
            kind = click.UsageError if wrong else click.ClickException
            raise kind(with_cure(str(error), error, ran)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "Interrupted. The same command resumes, if anything is finished."
            ) from error


def _write_out(text: str) -> None:
    """Write text and what waits to be written to standard output, or end the process."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python writes again when it ends: let that succeed.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        _refuse_output(error.strerror)


def _refuse_output(why: str | None) -> NoReturn:
    # Whether the command has changed anything by then is not known here, and so not said.
    click.echo(f"Error: Cannot write standard output: {why}.", err=True)
    sys.exit(1)


class _Notes(logging.Handler):
    """Prints the library's notes beside the result.

    A note may say with ``extra={"about": ...}`` which class of error it would be elsewhere.
    """

    def emit(self, record: logging.LogRecord) -> None:
        from hubkit.cli.cures import with_cure

        text = with_cure(one_line(record.getMessage()), getattr(record, "about", None))
        click.echo(f"Note: {text}", err=True)


@click.group(cls=_Hubkit, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hubkit", message="hubkit %(version)s")
def main() -> None:
    """Train, publish, find, fuse and run adapters for frozen transformers models.

    The registry is the folder HUBKIT_HOME; by default, it is where your system keeps the data of
    applications. HUBKIT_DATABASE_URL and HUBKIT_STORAGE_URL keep its database on a PostgreSQL
    server, and its bytes in object storage.

    \b
    Example:
      hubkit train reviews.csv --base bert-base-uncased --task sentiment --name reviews
      hubkit fuse reviews tweets --data mixed.csv --name all-round
      hubkit predict all-round "What a film!"
    """
