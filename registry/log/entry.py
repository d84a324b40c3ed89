"""An entry of the log, and the content of its record."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from registry.errors import InvalidNameError, ManifestError
from registry.fields import Json
from registry.refs import AdapterRef
from registry.storage.files import Digest

Action = Literal[
    "publish",
    "alias",
    "unalias",
    "yank",
    "unyank",
    "measure",
    "delete",
    "gc",
    "quarantine",
    "fetch",
    "rebuild",
    "account",
    "member",
    "token",
    "create",
    "commit",
    "squash",
    "branch",
    "unbranch",
    "tag",
    "untag",
    "settings",
    "move",
]


def _require_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with a zone")
    return text


def _require_name(text: str) -> str:
    try:
        return text and str(AdapterRef.parse(text).repository)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


class Entry(BaseModel):
    """A change of the registry.

    Attributes:
        record: The version of this schema: always 1.
        sequence: Its place in the log, from 1 without a gap.
        at: The time, in UTC.
        actor: The user of the process, or the account on a hub with the name of its token.
        action: The kind of the change.
        name: The name of the adapter, without version; empty for other changes.
        details: Further facts, enough to repeat the change.
        previous: The hash of the entry before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    record: Literal[1] = 1
    sequence: Annotated[int, Field(ge=1, lt=2**63)]
    at: Annotated[str, AfterValidator(_require_time)]
    actor: Annotated[str, StringConstraints(max_length=256)]
    action: Action
    name: Annotated[str, StringConstraints(max_length=256), AfterValidator(_require_name)]
    details: Mapping[str, Json]
    previous: Digest

    @property
    def hash(self) -> str:
        """SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the canonical bytes of the entry."""
        return canonical(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """Read the content of a record.

        Raises:
            ManifestError: It is not an entry.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise ManifestError(f"{source} is not an entry of a log: {problem}.", source) from error


def canonical(value: object) -> bytes:
    """Return the canonical JSON of a value."""
    return json.dumps(
        dict(value) if isinstance(value, Mapping) else value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode()
