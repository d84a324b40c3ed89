"""Regular expressions out of other people's files: some take longer to match than anybody waits."""

import re
import time
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import shown
from registry.storage.place import Place

MOST_SECONDS = 3.0
"""For all matches of one file; a large model has some thousands, which take microseconds each."""

_LONGEST = 10_000


class Expressions:
    """Matches the expressions of one file, which share a limit of time.

    Args:
        where: The file, for messages.
    """

    def __init__(self, where: Place) -> None:
        self._where = where
        self._left = MOST_SECONDS
        self._compiled: dict[str, Any] = {}

    def check(self, expression: str, key: str) -> None:
        """Refuse what is no regular expression.

        Args:
            expression: The text.
            key: What it is called in the file.

        Raises:
            FolderError: It is none, or is longer than those that people write.
        """
        import regex  # which can be given a time to match in, unlike Python's own

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
        """Whether an expression is for a whole text.

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
