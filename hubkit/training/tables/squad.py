"""Questions as the files of SQuAD nest them: articles, their paragraphs, the questions of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.errors import DataError

_COLUMNS = ("id", "question", "context", "answers")


def is_squad(document: Any) -> bool:
    """Whether a JSON document has articles as SQuAD's files have them: with paragraphs."""
    articles = document.get("data") if isinstance(document, dict) else None
    return isinstance(articles, list) and (
        not articles or any(isinstance(one, dict) and "paragraphs" in one for one in articles)
    )


def read_questions(document: Any, source: str) -> tuple[dict[str, list[Any]], list[str]]:
    """The questions of a document, a row each, and where each of them is.

    Args:
        document: The JSON of a file; see https://rajpurkar.github.io/SQuAD-explorer.
        source: Its name in messages.

    Raises:
        DataError: A part is missing, or is of another kind.
    """
    rows, places = [], []
    for first, article in _each(document, "data", source, "article"):
        for second, paragraph in _each(article, "paragraphs", source, f"{first}, paragraph"):
            for where, question in _each(paragraph, "qas", source, f"{second}, question"):
                rows.append(_row(question, paragraph, f"{source}, {where}"))
                places.append(where)
    if not rows:
        raise DataError(f"{source} has no rows.", source)
    return {name: [row[name] for row in rows] for name in _COLUMNS}, places


def _row(question: dict[str, Any], paragraph: dict[str, Any], where: str) -> dict[str, Any]:
    answers = question.get("answers")
    if question.get("is_impossible") and answers:
        raise DataError(
            f"{where}: expected no answers to a question that is_impossible, found {len(answers)}.",
            where,
            found=answers,
        )
    return {
        "id": question.get("id"),
        "question": question.get("question"),
        "context": paragraph.get("context"),
        "answers": answers,
    }


def _each(
    part: dict[str, Any], name: str, source: str, kind: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a list of ``part``, each with its place."""
    inside = part.get(name)
    if not isinstance(inside, list):
        where = f"{source}, {kind.rpartition(', ')[0]}".rstrip(", ")
        raise DataError(f"{where}: expected a list {name!r}, as SQuAD's files have.", source)
    for number, one in enumerate(inside, start=1):
        if not isinstance(one, dict):
            raise DataError(f"{source}, {kind} {number}: expected an object.", source)
        yield f"{kind} {number}", one
