"""The name of an adapter: ``[owner/]name[@version|@alias]``."""

import re
from dataclasses import dataclass, replace
from typing import Self

from registry.errors import InvalidNameError

LATEST = "latest"
"""The alias of the highest version that is not yanked; it cannot be set."""

DELETED = "deleted"
"""The owner in the names of the remains of deleted adapters: see `AdapterRef.nameless`."""

MAX_NUMBER = 2**31 - 1
"""The highest version number: the highest value of an INTEGER column in every database."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_ALIAS = re.compile(r"[a-z](?:[a-z0-9_-]{0,46}[a-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SEPARATORS = re.compile(r"[-_.]+")

_NAME_RULE = (
    "1 to 96 ASCII letters, digits, '-', '_' or '.', starting with a letter or digit, "
    "without '..' and not ending in '.' or '.lock'"
)
_ALIAS_RULE = (
    "1 to 48 of a-z, 0-9, '-' or '_', starting with a letter and ending in a letter or digit"
)


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """The name of an adapter, or of one of its versions by number or alias.

    An instance is always well formed: the constructor makes the same checks as `parse`.

    Attributes:
        owner: The owner; None in the registry of one person.
        name: The adapter's name, in the given spelling.
        version: A version number, from 1 to `MAX_NUMBER`.
        alias: A movable name for a version, such as ``best``; never together with `version`.

    Raises:
        InvalidNameError: A part breaks its rule; the message quotes the rule.
    """

    owner: str | None
    name: str
    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        """Refuse a part that breaks its rule."""
        if self.owner is not None:
            _check_name("owner", self.owner)
        _check_name("name", self.name)
        if self.version is not None and self.alias is not None:
            raise InvalidNameError(
                f"A ref has a version or an alias, not both: {self.version} and {self.alias!r}.",
                self.name,
            )
        if self.version is not None and not _is_number(self.version):
            raise InvalidNameError(
                f"A version number is a whole number from 1 to {MAX_NUMBER}, but {self.name} got "
                f"{self.version!r}.",
                self.version,
            )
        if self.alias is not None and not _fits(_ALIAS, self.alias):
            raise InvalidNameError(f"An alias is {_ALIAS_RULE}, not {self.alias!r}.", self.alias)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name``, ``name@3``, ``name@best`` or any of them after ``owner/``.

        Raises:
            InvalidNameError: `text` is none of these.
        """
        if not isinstance(text, str):
            raise InvalidNameError(f"An adapter is named by text, not by {text!r}.", text)
        path, at, selector = text.partition("@")
        owner, slash, name = path.rpartition("/")
        if "/" in owner:
            raise InvalidNameError(
                f"{text!r}: an adapter's name has at most one '/', between owner and name, as in "
                "'ada/reviews'.",
                text,
            )
        if at and not selector:
            raise InvalidNameError(
                f"{text!r} ends in '@': expected a version number or an alias after it.", text
            )
        if selector[:1].isdigit():
            if not _NUMBER.fullmatch(selector):
                raise InvalidNameError(
                    f"{text!r}: a version is a whole number from 1 to {MAX_NUMBER}, "
                    f"without leading zeros, not {selector!r}.",
                    text,
                )
            return cls(owner if slash else None, name, version=int(selector))
        return cls(owner if slash else None, name, alias=selector or None)

    @classmethod
    def nameless(cls, digest: str) -> Self:
        """Return the ref of a version of a deleted adapter that others are made of.

        It says nothing but the digest of the manifest, so nothing else can ever be meant by it.
        """
        return cls(DELETED, digest)

    @property
    def is_nameless(self) -> bool:
        """Whether `nameless` returned it, with a version or without."""
        return self.owner == DELETED and _DIGEST.fullmatch(self.name) is not None

    def __str__(self) -> str:
        """Return the text that `parse` reads as this ref."""
        owner = f"{self.owner}/" if self.owner is not None else ""
        selector = self.version if self.version is not None else self.alias
        return f"{owner}{self.name}" + (f"@{selector}" if selector is not None else "")

    @property
    def repository(self) -> Self:
        """The ref without version and alias."""
        return replace(self, version=None, alias=None)

    @property
    def folded(self) -> str:
        """The key of the adapter: the same for all spellings, without version and alias.

        Case does not count, and neither does which of ``-``, ``_`` and ``.`` separates words,
        or how many of them, so that no two adapters differ only in how they look.
        """
        return "/".join(_fold(part) for part in (self.owner, self.name) if part is not None)

    def at(self, version: int) -> Self:
        """Return the ref of this adapter's version number `version`."""
        return replace(self, version=version, alias=None)


def fold_owner(owner: str) -> str:
    """Return the key of an owner: the same for all spellings of the name, as in `folded`.

    Raises:
        InvalidNameError: No owner can have this name.
    """
    _check_name("owner", owner)
    return _fold(owner)


def _fold(part: str) -> str:
    return _SEPARATORS.sub("-", part.lower())


def _is_number(version: object) -> bool:
    return type(version) is int and 1 <= version <= MAX_NUMBER


def _fits(rule: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and rule.fullmatch(text) is not None


def _check_name(role: str, text: str) -> None:
    if not _fits(_NAME, text) or ".." in text or text.lower().endswith(".lock"):
        raise InvalidNameError(f"An adapter's {role} is {_NAME_RULE}, not {text!r}.", text)
