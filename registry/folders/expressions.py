"""Regular expressions in files of other programs, matched within a time limit."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import shown
from registry.folders.source import Source

MOST_SECONDS = 3.0
"""Seconds for all matches of one file; a large model has some thousands, of microseconds each."""

_LONGEST = 10_000
_PLAIN = re.compile(r"[\w.]*")
_MATCH = """
import json, re, sys
expressions, paths = json.load(sys.stdin)
for expression in expressions:
    for path in paths:
        re.match(expression, path)
"""


class Expressions:
    """Matches the expressions of one file, which share a time limit.

    Args:
        where: The file, for messages.
    """

    def __init__(self, where: Source) -> None:
        self._where = where
        self._left = MOST_SECONDS
        self._compiled: dict[str, Any] = {}

    def check(self, expression: str, key: str) -> None:
        """Refuse what is not a regular expression.

        Args:
            expression: The text.
            key: Its key in the file.

        Raises:
            FolderError: It is not a regular expression, or longer than people write.
        """
        import regex  # unlike Python's own, it takes a time limit

        try:
            if len(expression) > _LONGEST:
                raise ValueError(f"it has {len(expression)} characters, more than {_LONGEST}")
            re.compile(expression)
            regex.compile(expression)
        except (re.error, regex.error, RecursionError, OverflowError, ValueError) as error:
            raise FolderError(
                f"{self._where}: {key} holds {shown(expression)}, which is no regular expression: "
                f"{error}. Mend the file.",
                self._where,
            ) from error

    def matches(self, expression: str, text: str) -> bool:
        """Whether an expression matches a whole text.

        Raises:
            FolderError: The matches of this file take longer than `MOST_SECONDS` in all.
        """
        import regex

        started = time.monotonic()
        try:
            compiled = self._compiled.get(expression)
            if compiled is None:
                compiled = self._compiled[expression] = regex.compile(expression)
            if self._left <= 0:
                raise TimeoutError
            found = compiled.fullmatch(text, timeout=self._left) is not None
        except TimeoutError as error:
            raise FolderError(
                f"{self._where}: the expression {shown(expression)} takes too long to match "
                f"{shown(text)}. Write it without repetitions inside of repetitions, or list "
                "names.",
                self._where,
            ) from error
        self._left -= time.monotonic() - started
        return found


def require_quick(config: Mapping[str, Any], paths: Iterable[str], where: Source) -> None:
    """Check that PEFT, which has no time limit, can match the expressions of a configuration.

    Args:
        config: The content of ``adapter_config.json``, of any method of PEFT.
        paths: The modules of the model.
        where: The file, for messages.

    Raises:
        FolderError: An expression is malformed, or takes too long to match.
    """
    expressions = Expressions(where)
    asked = []
    for key, expression in _expressions(config):
        expressions.check(expression, key)
        if not _PLAIN.fullmatch(expression):
            asked.append((key, expression))
    if not asked:
        return
    # With Python's own matcher, as in PEFT: another may be quick when this one never ends.
    sent = json.dumps([[expression for _, expression in asked], list(paths)])
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", _MATCH],
            input=sent.encode(),
            check=True,
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        keys = ", ".join(dict.fromkeys(key for key, _ in asked))
        raise FolderError(
            f"{where}: the expressions in {keys} take too long to match the modules of the model, "
            f"such as {shown(asked[0][1])}. Write them without repetitions inside of repetitions, "
            "or list names.",
            where,
        ) from error


def _expressions(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options that PEFT matches as expressions, in its form."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), str):
            yield key, config[key]
    for key, form in (
        ("layers_pattern", r"(?:^|.*?\.){}\.(?P<idx>\d+)\..*"),
        ("modules_to_save", r"(^|.*\.){}($|\..*)"),
        ("rank_pattern", r"(.*\.)?({})"),
        ("alpha_pattern", r"(.*\.)?({})"),
    ):
        given = config.get(key) or ()
        for one in [given] if isinstance(given, str) else given:
            if isinstance(one, str):
                yield key, one if _PLAIN.fullmatch(one) else form.replace("{}", one)
