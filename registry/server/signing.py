"""Signatures of the hub: URLs for uploads, each for an account, a repository, some bytes and a
time; and passes for uploads by Xet.
"""

import hashlib
from dataclasses import astuple, dataclass
from typing import Generic, Self, TypeVar

from itsdangerous import BadSignature, URLSafeTimedSerializer

from registry.accounts.keys import signing_key
from registry.errors import ForbiddenError, HubkitError, SignInError
from registry.storage.files import FileInfo
from registry.store import Store

VALID = 24 * 60 * 60
"""Seconds that a signed URL is valid."""

PASS_VALID = 15 * 60
"""Seconds that a pass is valid. Clients renew it in time. They ask for the address equally seldom:
after a loss, they use the old one for up to this time."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The upload that a signed URL allows.

    Attributes:
        account_id: The account.
        repository_id: The repository.
        sha256: The digest of the file.
        size: Its bytes.
        part: The number of the part, from 1; 0 for the whole file.
        part_size: Bytes of each part but the last; 0 if it does not come in parts.
    """

    account_id: int
    repository_id: int
    sha256: str
    size: int
    part: int = 0
    part_size: int = 0

    @property
    def info(self) -> FileInfo:
        """The size and digest of the whole file."""
        return FileInfo(sha256=self.sha256, size=self.size)

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.size // self.part_size) if self.part_size else 1

    @property
    def length(self) -> int:
        """Bytes that are sent to this URL."""
        if not self.part:
            return self.size
        return min(self.part_size, self.size - (self.part - 1) * self.part_size)


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass for uploads by Xet.

    It names no day: clients renew their pass within an upload, but not the address.

    Attributes:
        account_id: The account.
        repository_id: A repository that the account could write to when it got the pass.
    """

    account_id: int
    repository_id: int


_Facts = TypeVar("_Facts", Upload, Pass)


class _Signer(Generic[_Facts]):
    """Signs facts, and reads them back.

    Args:
        key: The secret. All processes that serve a registry share it, and a restart keeps it.
    """

    kind: type[_Facts]
    salt: str
    seconds: int
    what: str
    refusal: type[HubkitError]

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeTimedSerializer(
            key,
            salt=self.salt,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return the signer of a registry, for all its processes."""
        return cls(signing_key(store))

    def sign(self, facts: _Facts) -> str:
        """Return facts as a text that can be part of a URL."""
        return str(self._serializer.dumps(astuple(facts)))

    def read(self, text: str) -> _Facts:
        """Return the facts in a text.

        Raises:
            HubkitError: A `refusal`: it was not signed here, was altered, or is too old.
        """
        try:
            return self.kind(*self._serializer.loads(text, max_age=self.seconds))
        except (BadSignature, TypeError) as error:
            raise self.refusal(
                f"This {self.what} is not valid, or not any more. Ask for a new one."
            ) from error


class Signer(_Signer[Upload]):
    """Signs uploads for URLs."""

    kind, salt, seconds = Upload, "hubkit upload", VALID
    what, refusal = "URL", ForbiddenError


class Passes(_Signer[Pass]):
    """Signs passes for uploads by Xet."""

    kind, salt, seconds = Pass, "hubkit xet", PASS_VALID
    what, refusal = "pass", SignInError
