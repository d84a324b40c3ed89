"""Regular expressions out of other people's files: some take longer to match than anybody waits."""

import re
from pathlib import Path

from registry.errors import FolderError

MOST_SECONDS = 0.5
"""For one match; those that people mean take microseconds."""


def check_expression(expression: str, key: str, where: Path) -> None:
    """Refuse what is no regular expression.

    Args:
        expression: The text.
        key: What it is called in its file.
        where: That file.

    Raises:
        FolderError: It is none.
    """
    import regex  # which can be given a time to match in, unlike Python's own

    try:
        re.compile(expression)
        regex.compile(expression)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise FolderError(
            f"{where}: {key} holds {expression!r}, which is no regular expression: {error}. "
            "Mend the file.",
            where,
        ) from error


def matches(expression: str, text: str, where: Path) -> bool:
    """Whether an expression of a file is for a whole text.

    Raises:
        FolderError: To find out takes longer than `MOST_SECONDS`.
    """
    import regex

    try:
        return regex.fullmatch(expression, text, timeout=MOST_SECONDS) is not None
    except TimeoutError as error:
        raise FolderError(
            f"{where}: the expression {expression!r} takes too long to match {text!r}. Write it "
            "without repetitions inside of repetitions, or list names.",
            where,
        ) from error
