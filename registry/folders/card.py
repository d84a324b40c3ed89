"""The model card: ``README.md`` with a block of YAML at its top.

The fields are those of the Hugging Face Hub (https://huggingface.co/docs/hub/model-cards).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.errors import FolderError

CARD_NAME = "README.md"
BASE_TAG = "base_model:"
"""How tags start that only repeat the field `base_model`, which may be a folder on a machine."""

_MAX_BYTES = 4 * 1024 * 1024
_FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$(.*)\Z", re.DOTALL | re.MULTILINE
)
_LONGEST_WORD = 256


@dataclass(frozen=True, slots=True)
class Card:
    """What a model card says.

    Attributes:
        base_models: Ids of the base model; mostly one.
        license: SPDX identifier, or the Hub's own word.
        language: BCP 47 tag; ``mul`` for several.
        tags: Words, without duplicates; none of those that the Hub makes of the base model.
        task_type: The Hub's ``pipeline_tag``.
        data: All fields, as YAML reads them.
        text: What follows the fields.
    """

    base_models: tuple[str, ...] = ()
    license: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    task_type: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""


def read_card(folder: Path) -> Card:
    """Return what the card of a folder says; an empty one where there is none.

    Raises:
        FolderError: It is not UTF-8, its fields are not YAML, or it is larger than 4 MiB.
        OSError: It cannot be read.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return Card()
    with path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise FolderError(f"{path} is larger than {_MAX_BYTES} bytes. Shorten the card.", path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FolderError(
            f"{path} is not UTF-8: byte {error.start} is {content[error.start]:#04x}. "
            "Save the card as UTF-8.",
            path,
        ) from error
    return parse_card(text, path)


def parse_card(text: str, path: Path) -> Card:
    """Read a card from its text.

    Raises:
        FolderError: Its fields are not YAML.
    """
    found = _FRONT_MATTER.match(text)
    if found is None:
        return Card(text=text)
    import yaml  # only needed where there is a card

    try:
        data = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise FolderError(
            f"{path}: what stands between the lines --- is not YAML: {problem}. Mend the card.",
            path,
        ) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise FolderError(
            f"{path}: what stands between the lines --- is a {type(data).__name__}; "
            "expected fields such as `license: mit`.",
            path,
        )
    languages = _words(data.get("language"))
    return Card(
        base_models=_words(data.get("base_model")),
        license=next(iter(_words(data.get("license"))), None),
        language=languages[0] if len(languages) == 1 else "mul" if languages else None,
        tags=tuple(tag for tag in _words(data.get("tags")) if not tag.startswith(BASE_TAG)),
        task_type=next(iter(_words(data.get("pipeline_tag"))), None),
        data=data,
        text=found[2].lstrip("\r\n"),
    )


def _words(value: Any) -> tuple[str, ...]:
    """Return the words of a field that holds one or a list, leaving out what is none."""
    words = value if isinstance(value, list) else [value]
    return tuple(
        dict.fromkeys(
            word
            for word in words
            if isinstance(word, str) and 0 < len(word) <= _LONGEST_WORD and word.isprintable()
        )
    )
