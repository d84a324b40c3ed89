"""Which option or command mends what the library refuses: one table from error to cure.

The library states facts; a command names options. A bare ``--option`` belongs to the command that
ran: where that command has no such option, the sentence is left out. A whole command stands in
backquotes, and is good advice everywhere.

The library also reports problems without raising an error: as findings of fsck and doctor, and as
notes. Their field ``about`` has the class of error that has the same cure, and `cure_of` takes the
class in place of an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import click

from hubkit.cli.output import printable
from hubkit.hub.address import DEFAULT, Hub
from registry import errors
from registry.errors import HubkitError

Cure = tuple[str, ...] | Callable[[Any], tuple[str, ...]]
"""The sentences that follow the message of an error, or what makes them of the error's fields."""

_REBUILD = (
    "`hubkit rebuild` makes it anew from blobs and records.",
    "`hubkit restore` brings back a backup.",
)


def _labels(error: errors.HeadLabelsError) -> tuple[str, ...]:
    if error.given and (error.found or not error.expected):
        return ("Leave --label out.",)
    if error.found:
        return ()  # the files contradict each other: mend them
    return ("Name them with --label, once for each class in the order of their ids.",)


def _task_types(error: errors.OtherTaskTypeError) -> tuple[str, ...]:
    names = error.found if isinstance(error.found, tuple) else ()
    options = " or ".join(f"--task-type {name}" for name in names)
    right = (f"Train it with {options}.",) if options else ()
    return (*right, "Or name the columns with --column NAME=COLUMN.")


def _others(error: errors.RefNotFoundError) -> tuple[str, ...]:
    if isinstance(error.found, Path):
        there = f"HUBKIT_HOME={quote(str(error.found))} hubkit list"
    elif error.found:
        return ()
    else:
        there = "hubkit list"
    return (f"`{there}` shows those that exist.",)


def _of_base(error: errors.NoCandidateError) -> tuple[str, ...]:
    return (f"`hubkit list --base {quote(str(error.subject))}` shows those that exist.",)


def _accounts(error: errors.AccountNotFoundError) -> tuple[str, ...]:
    kinds = {"user": ("user",), "organisation": ("org",)}
    shown = kinds.get(str(error.expected), ("user", "org"))
    return tuple(f"`hubkit {kind} list` shows those that exist." for kind in shown)


def _tokens(error: errors.TokenNotFoundError) -> tuple[str, ...]:
    return (f"`hubkit token list {quote(str(error.subject))}` shows those that exist.",)


def _yank(error: errors.PartOfAdapterError) -> tuple[str, ...]:
    return (f'`hubkit yank {error.given or "NAME@VERSION"} --reason "..."` does that.',)


def _come_with_token(error: errors.RemoteError) -> tuple[str, ...]:
    """Say how to send a token, if the hub wanted one."""
    if error.hub is None:
        return ()
    hub = Hub(error.hub)
    login = "`hubkit login`" if hub.is_default else f"`hubkit login --to {hub.url}`"
    if error.token_sent:
        page = f"{hub.url}/settings/tokens" if hub.url == DEFAULT else "its page of access tokens"
        keep = "set HF_TOKEN to it" if hub.is_default and os.environ.get("HF_TOKEN") else login
        return (f"Make another token on {page} and {keep}.",)
    if hub.is_default:
        return (f"Log in with {login}, or set HF_TOKEN.",)
    return (f"Log in with {login}; HF_TOKEN is for the default hub.",)


def _hidden(error: errors.RemoteNotFoundError) -> tuple[str, ...]:
    return () if error.token_sent else _come_with_token(error)


CURES: Mapping[type[HubkitError], Cure] = {
    errors.PartOfAdapterError: _yank,
    errors.RefNotFoundError: _others,
    errors.NoCandidateError: _of_base,
    errors.AccountNotFoundError: _accounts,
    errors.TokenNotFoundError: _tokens,
    errors.MissingColumnError: ("Name it with --column NAME=COLUMN.",),
    errors.OtherTaskTypeError: _task_types,
    errors.SeparatorError: ("Say with --separator what separates the columns.",),
    errors.EncodingError: ("Say with --encoding what the file is in, such as latin-1.",),
    errors.UnfitRowsError: ("Or leave them out with --skip-unfit.",),
    errors.TextLengthError: ("Give a larger --max-length.",),
    errors.LanguageCodeError: ("Name codes with --source-language and --target-language.",),
    errors.FoldsError: ("Ask for another number of --folds.",),
    errors.TooFewRowsError: ("Or pass rows to validate with as --validation.",),
    errors.NoFlexibleHeadError: ("Leave --head out.",),
    errors.AmbiguousDataSetError: ("Name one of them with --dataset.",),
    errors.OtherKindError: ("Or use the name anyway with --replace.",),
    errors.TakenAddressError: ("Stop it, or choose another --port.",),
    errors.EarlierExportError: ("Take its place with --replace.",),
    errors.RareLabelError: ("Or pass rows to validate with as --validation.",),
    errors.SingleLabelError: ("Check --label-column.",),
    errors.NoTrunkError: ("Leave --cache-trunk out, or lower layers with --drop-layers.",),
    errors.PrecisionError: ("Choose another --precision.",),
    errors.DivergedError: ("Try a smaller --learning-rate.",),
    errors.NoValidationError: ("Name one --learning-rate, or leave --validation out.",),
    errors.ShortTrainingError: ("Give it more --steps or --epochs.",),
    errors.RunInUseError: ("Or give this run another --name or --seed.",),
    errors.UnknownBaseError: ("Say with --base which one it is.",),
    errors.UnknownTaskError: ("Say it with --task, such as --task sentiment.",),
    errors.UnknownParentsError: ("Name them in this order with --parent, once for each.",),
    errors.FusedAdapterNotFoundError: (
        "Or name all of them in the fusion's order with --parent, once for each.",
    ),
    errors.HeadLabelsError: _labels,
    errors.DamagedBlobError: (
        "`hubkit fsck --repair` sets aside what is damaged, and fetches again what was pulled.",
    ),
    errors.FullDiskError: (
        "If the registry is on that disk, `hubkit gc` removes what is unused in it.",
    ),
    errors.PickledWeightsError: ("`hubkit publish` converts it.",),
    errors.RemoteAccessError: _come_with_token,
    errors.RemoteNotFoundError: _hidden,
    errors.RemoteConflictError: ("Publish it under another --name.",),
    errors.BackupNotFoundError: ("Name the folder that `hubkit backup` wrote.",),
    errors.DamagedDatabaseError: _REBUILD,
    errors.OutdatedDatabaseError: ("`hubkit rebuild` brings it up to date.",),
    errors.DamagedIndexError: ("`hubkit fsck --full --repair` makes it anew.",),
    errors.AlteredLogError: _REBUILD,
    errors.AlteredRowsError: (
        "`hubkit fsck --full --repair` writes the rows again from the manifests and the log.",
    ),
    errors.BaseModelNotFoundError: ("Name a base model with --base.",),
    errors.OtherBaseError: (
        "Name the right base model with --base.",
        "With --allow-base-mismatch it is used anyway, and that is noted.",
    ),
}
"""The cure of each class of error that has one; a class without a row has that of its parent."""

_COMMAND_OR_OPTION = re.compile(r"`[^`]*`|(?<![\w-])(--[a-z][a-z-]+)")


def cure_of(
    problem: HubkitError | type[HubkitError] | None, command: click.Command | None = None
) -> str:
    """Return what to do about a problem, as sentences to put after its message; may be empty.

    Args:
        problem: An error; or the class of one, which carries no fields.
        command: The command that ran. Default: unknown, and no sentence is left out.
    """
    if problem is None:
        return ""
    error = problem("") if isinstance(problem, type) else problem
    cure = next((CURES[kind] for kind in type(error).mro() if kind in CURES), ())
    sentences = cure(error) if callable(cure) else cure
    return " ".join(sentence for sentence in sentences if _has_all_of(command, sentence))


def with_cure(
    text: str,
    problem: HubkitError | type[HubkitError] | None,
    command: click.Command | None = None,
) -> str:
    """A text for a terminal, and after it the cure of the problem that it tells of; see `cure_of`.

    Errors and notes quote what hubs, manifests and files say: none of it reaches the terminal as
    a control character.
    """
    return f"{printable(text)} {cure_of(problem, command)}".rstrip()


def _has_all_of(command: click.Command | None, sentence: str) -> bool:
    if command is None:
        return True
    has = {name for parameter in command.params for name in parameter.opts}
    return {option for option in _COMMAND_OR_OPTION.findall(sentence) if option} <= has
