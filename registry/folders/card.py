"""The model card: ``README.md`` with a block of YAML at its top.

The fields are those of the Hugging Face Hub (https://huggingface.co/docs/hub/model-cards).
"""

import re
from dataclasses import dataclass, field
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import DEEPEST, MOST_DIGITS, read_bytes
from registry.folders.source import Source

CARD_NAME = "README.md"
BASE_TAG = "base_model:"
"""The start of tags that only repeat the field `base_model`, which may be a local folder."""

_MAX_BYTES = 4 * 1024 * 1024
# The cards with the most measurements on the Hub have about half as many.
_MOST_EVENTS = 100_000
# No card without repetitions is longer.
_MOST_WRITTEN = 2 * _MAX_BYTES
_FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$(.*)\Z", re.DOTALL | re.MULTILINE
)
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|[0-9_.:]+)")
_LONGEST_WORD = 256


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of a model card.

    Attributes:
        base_models: Ids of the base model; mostly one.
        license: SPDX identifier, or the Hub's own word.
        language: BCP 47 tag; ``mul`` for several.
        tags: Words, without duplicates and without those that the Hub makes of the base model.
        task_type: The Hub's ``pipeline_tag``.
        data: All fields, as YAML reads them.
        text: The text after the fields.
    """

    base_models: tuple[str, ...] = ()
    license: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    task_type: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""


def read_card(folder: Source) -> Card:
    """Return the card of a folder; an empty one if there is none.

    Raises:
        FolderError: It is not UTF-8, its fields are not YAML, or it is beyond a limit.
        OSError: It cannot be read.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return Card()
    content = read_bytes(path, _MAX_BYTES)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FolderError(
            f"{path} is not UTF-8: byte {error.start} is {content[error.start]:#04x}. "
            "Save the card as UTF-8.",
            path,
        ) from error
    return parse_card(text, path)


def parse_card(text: str, path: Source) -> Card:
    """Read a card from its text.

    Raises:
        FolderError: Its fields are not YAML, or are beyond a limit.
    """
    found = _FRONT_MATTER.match(text)
    if found is None:
        return Card(text=text)
    import yaml  # only needed if there is a card

    try:
        _require_bounded(found[1])
        data = yaml.load(found[1], yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise FolderError(
            f"{path}: the text between the lines --- is not YAML that can be read: {problem}. "
            "Mend the card.",
            path,
        ) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise FolderError(
            f"{path}: the text between the lines --- is a {type(data).__name__}; "
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


def text_of(card: str) -> str:
    """Return the text after the fields of a card, even if the fields cannot be read."""
    found = _FRONT_MATTER.match(card)
    return card if found is None else found[2].lstrip("\r\n")


def _require_bounded(fields: str) -> None:
    """Refuse YAML that takes long to build; libyaml's loader crashes on deep nesting.

    Raises:
        ValueError: It is beyond a limit.
        YAMLError: It is no YAML.
    """
    import yaml

    depth = 0
    repeats = _Repeats()
    for count, event in enumerate(yaml.parse(fields, yaml.CSafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            repeats.begin(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            repeats.end()
        elif isinstance(event, yaml.AliasEvent):
            repeats.again(event.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            repeats.text(event.anchor, event.value)
            # Merged keys double with each line that merges the line before twice.
            if event.value == "<<" and event.implicit[0]:
                raise ValueError("it merges fields with <<")
            is_text = event.tag is None and not event.implicit[0]  # in quotes
            if len(event.value) > MOST_DIGITS and not is_text and _NUMBER.fullmatch(event.value):
                raise ValueError(f"it holds a number of {len(event.value)} characters")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        if count > _MOST_EVENTS:
            raise ValueError(f"it holds more than {_MOST_EVENTS} fields and values")


class _Repeats:
    """The number of characters of YAML if each repeated value is written out.

    Ten lists, each of which is ten times the one before, are short in YAML, and fill any memory
    as JSON.
    """

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = [(None, 0)]
        self._named: dict[str, int] = {}

    def begin(self, name: str | None) -> None:
        """Begin a list or a mapping, which may have an anchor."""
        self._open.append((name, 1))

    def end(self) -> None:
        """End the one that was begun last."""
        self._add(*self._open.pop())

    def text(self, name: str | None, text: str) -> None:
        """Take a value."""
        self._add(name, len(text) + 1)

    def again(self, name: str) -> None:
        """Take the value of an anchor again.

        Raises:
            ValueError: It stands in itself, or all together is too long.
        """
        if any(name == one for one, _ in self._open):
            raise ValueError(f"*{name} is inside its own value")
        self._add(None, self._named.get(name, 0))  # YAML reports an unknown anchor
        if sum(size for _, size in self._open) > _MOST_WRITTEN:
            raise ValueError(f"with its repetitions, it is longer than {_MOST_WRITTEN} characters")

    def _add(self, name: str | None, size: int) -> None:
        if name is not None:
            self._named[name] = size
        outer, before = self._open[-1]
        self._open[-1] = outer, before + size


def _words(value: Any) -> tuple[str, ...]:
    """Return the texts of a field with one or a list of them, without other values."""
    words = value if isinstance(value, list) else [value]
    return tuple(
        dict.fromkeys(
            word
            for word in words
            if isinstance(word, str) and 0 < len(word) <= _LONGEST_WORD and word.isprintable()
        )
    )
